// A service worker that gives the page's files the headers under which browsers allow threads.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  if (new URL(event.request.url).origin !== location.origin) return;
  event.respondWith(fetch(event.request).then((answer) => {
    const headers = new Headers(answer.headers);
    headers.set("Cross-Origin-Opener-Policy", "same-origin");
    headers.set("Cross-Origin-Embedder-Policy", "require-corp");
    const body = [204, 304].includes(answer.status) ? null : answer.body;
    return new Response(body, { status: answer.status, headers });
  }));
});
