// Opens pages in Chromium. Reads a list of tasks as JSON from stdin, writes the results as JSON to stdout.
// A task: {html, width, height, dark, axe, shot, expected, clip}; lengths in CSS pixels, the rest are file paths.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import pixelmatch from "pixelmatch";
import { PNG } from "pngjs";

const SCALE = 0.5; // of screenshots: small enough that antialiasing has no effect
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tasks = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--font-render-hinting=none"],
});
const seen = [];
for (const task of tasks) {
  const context = await browser.newContext({
    viewport: { width: task.width, height: task.height ?? 900 },
    deviceScaleFactor: SCALE,
    colorScheme: task.dark ? "dark" : "light",
  });
  const page = await context.newPage();
  const requests = [], dialogs = [], errors = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("dialog", (dialog) => { dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`file://${task.html}`);
  const found = await page.evaluate(() => ({
    title: document.title,
    lang: document.documentElement.lang,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scripts: document.querySelectorAll("script, iframe, object, embed, img, link, form, [onload], [onerror]").length,
    links: [...document.querySelectorAll("a")].map((link) => link.getAttribute("href")),
    text: document.body.innerText,
    firstScreen: [...document.querySelectorAll(".alert p.why")]
      .filter((element) => element.getBoundingClientRect().bottom <= innerHeight).map((element) => element.innerText),
    background: getComputedStyle(document.body).backgroundColor,
  }));
  if (task.axe) {
    // The page's policy forbids scripts; the debugger, which loads axe, is exempt.
    const frame = await context.newCDPSession(page);
    await frame.send("Runtime.evaluate", { expression: AXE });
    const result = await frame.send("Runtime.evaluate", {
      expression: "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html + ' ' + n.failureSummary)}))))",
      awaitPromise: true, returnByValue: true,
    });
    found.violations = JSON.parse(result.result.value);
  }
  if (task.shot) {
    const image = await page.screenshot({ clip: { x: 0, y: 0, width: task.width, height: task.clip }, fullPage: true });
    writeFileSync(task.shot, image);
    if (task.expected && existsSync(task.expected)) {
      const now = PNG.sync.read(image), then = PNG.sync.read(readFileSync(task.expected));
      const { width, height } = then;
      found.size = [now.width, now.height, width, height];
      if (now.width === width && now.height === height) {
        const difference = new PNG({ width, height });
        const count = pixelmatch(then.data, now.data, difference.data, width, height, { threshold: 0.2 });
        writeFileSync(task.shot.replace(/\.png$/, ".difference.png"), PNG.sync.write(difference));
        found.different = count / (width * height);
      }
    }
  }
  seen.push({ ...found, requests: requests.filter((url) => !url.startsWith("file:")), dialogs, errors });
  await context.close();
}
await browser.close();
process.stdout.write(JSON.stringify(seen));
