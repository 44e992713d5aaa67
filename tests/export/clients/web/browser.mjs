// A static server on loopback, and headless Chromium on it.
import fs from 'node:fs';
import http from 'node:http';
import {createRequire} from 'node:module';
import path from 'node:path';

const types = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm',
  '.json': 'application/json',
};

/** A page of headless Chromium; `modules` is the folder of playwright-core. */
export async function openBrowser(modules, base) {
  const {chromium} = createRequire(path.resolve(modules, 'package.json'))('playwright-core');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
  });
  const page = await browser.newPage({baseURL: base});
  page.setDefaultTimeout(600_000); // a busy machine compiles WebAssembly for minutes
  page.on('pageerror', (error) => console.error(String(error)));
  page.on('console', (message) => console.error(message.text()));
  return {page, close: () => browser.close()};
}

/** {page, base, close}; `file` says where the file of a path lies. */
export async function openPage(modules, file) {
  const server = http.createServer((request, response) => {
    const name = path.posix.normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname));
    fs.readFile(file(name), (error, data) => {
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
  const {page, close} = await openBrowser(modules, base);
  return {page, base, close: async () => { await close(); server.close(); }};
}

const network = 'https://cdn.jsdelivr.net/npm/';
const withoutVersion = (name) => name.replace(/^(@?[^@]+)@[^/]+/, '$1');

/** A page of examples/web. The content network is served from `modules`; a request to another host fails. */
export async function openExample(modules, folder, models) {
  const {page, close} = await openPage(modules, (name) => {
    if (name.startsWith('/node_modules/')) return path.join(modules, name);
    return path.join(/^\/(classifier|reader|writer)\//.test(name) ? models : folder, name);
  });
  await page.route(`${network}**`, (route) => {
    const name = withoutVersion(route.request().url().slice(network.length));
    return route.fulfill({
      path: path.join(modules, 'node_modules', name),
      headers: {
        'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin',
        'content-type': name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript',
      },
    });
  });
  return {page, close};
}
