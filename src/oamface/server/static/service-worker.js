// Keeps the page's files, so that it opens without a connection. The networks are kept by downloads.js.

importScripts("files.js"); // FILES: path to SHA-256; a new list is a new version

const CACHE = "oamface-page";
const SITE = new URL("./", self.location.href).href;

self.addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { url, method } = event.request;
  if (method !== "GET" || !url.startsWith(SITE)) return;
  const path = url.slice(SITE.length).split(/[?#]/)[0] || "index.html";
  if (path in self.FILES) event.respondWith(kept(path, event.request));
});

async function fill() {
  const cache = await caches.open(CACHE);
  await Promise.all(Object.entries(self.FILES).map(async ([path]) => {
    if (await cache.match(nameOf(path))) return;
    const response = await fetch(new URL(path, SITE), { cache: "no-cache" });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    await cache.put(nameOf(path), isolated(response));
  }));
  const names = new Set(Object.keys(self.FILES).map(nameOf));
  for (const { url } of await cache.keys()) if (!names.has(url)) await cache.delete(url);
}

async function kept(path, request) {
  const cache = await caches.open(CACHE);
  return await cache.match(nameOf(path)) || fetch(request);
}

const nameOf = (path) => `${new URL(path, SITE)}?${self.FILES[path]}`;

// Static web servers do not isolate the page, and without that WebAssembly has one thread.
function isolated(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, headers });
}
