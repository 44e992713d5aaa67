// Headless Chromium against page.html: run.mjs MODULES_FOLDER ROWS_FOLDER FUNCTION …   prints JSON
// ROWS_FOLDER has rows.json, model.tflite and model.onnx; MODULES_FOLDER has node_modules. A request to another host fails.
import fs from 'node:fs';
import http from 'node:http';
import {createRequire} from 'node:module';
import path from 'node:path';

const [modules, rows, ...functions] = process.argv.slice(2);
const {chromium} = createRequire(path.resolve(modules, 'package.json'))('playwright-core');
const types = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm',
  '.json': 'application/json',
};

const server = http.createServer((request, response) => {
  const name = decodeURIComponent(new URL(request.url, 'http://x').pathname);
  const root = name.startsWith('/node_modules/') ? modules : name === '/page.html' ? import.meta.dirname : rows;
  fs.readFile(path.join(root, path.normalize(name)), (error, data) => {
    response.writeHead(error ? 404 : 200, {
      'content-type': types[path.extname(name)] || 'application/octet-stream',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    response.end(error ? undefined : data);
  });
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
const page = await browser.newPage();
const others = [];
page.on('request', (request) => {
  if (![base, 'blob:', 'data:'].some((prefix) => request.url().startsWith(prefix))) others.push(request.url());
});
page.on('pageerror', (error) => console.error(String(error)));
await page.goto(`${base}/page.html`);
await page.waitForFunction('window.ready', undefined, {timeout: 60_000});
const answers = {};
for (const name of functions) answers[name] = await page.evaluate(`window.${name}()`);
await browser.close();
server.close();
console.log(JSON.stringify({answers, others}));
