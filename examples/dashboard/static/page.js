// What moves: one stream for the page, charts of the rows in view, and more rows.
// Without this script every page works, and stands still.

const note = document.querySelector("#note");
const get = (path) => fetch(path, { headers: { "X-Requested-With": "fetch" } });

// -- the stream: pieces of HTML for places of the page, while anyone looks at it --

// Whoever prefers less motion gets a new picture every five seconds.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const pieces = new Map();
let stream, timer;

function paint() {
  timer = undefined;
  for (const [place, html] of pieces) {
    const node = document.getElementById(place);
    if (node?.contains(document.activeElement)) continue; // its turn comes later
    if (node) node.innerHTML = html;
    pieces.delete(place);
  }
}

function connect() {
  stream?.close();
  stream = undefined;
  const path = document.body.dataset.stream;
  if (!path || document.hidden) return;
  stream = new EventSource(path);
  stream.addEventListener("show", (event) => {
    for (const [place, html] of Object.entries(JSON.parse(event.data)))
      pieces.set(place, html);
    timer ??= setTimeout(paint, calm.matches ? 5000 : 0);
  });
  stream.addEventListener("end", finish);
}

// The session has ended: its page, as it is now, takes the place of this one.
async function finish() {
  stream.close();
  const page = new DOMParser().parseFromString(
    await (await get(location.href)).text(), "text/html");
  document.querySelector("main").replaceWith(page.querySelector("main"));
  document.title = page.title;
  delete document.body.dataset.stream;
  note.textContent = "The session has ended; the page shows its results.";
}

document.addEventListener("visibilitychange", connect);
addEventListener("pageshow", connect);
document.addEventListener("focusout", () => setTimeout(paint));
addEventListener("pagehide", () => stream?.close());

// -- charts: asked for while their row is in view, one request at a time --

const rows = new Map();
let isDrawing = false;

const view = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries)
    if (isIntersecting) rows.set(target.dataset.row.split(".")[0], target);
    else rows.delete(target.dataset.row.split(".")[0]);
  draw();
});

async function draw() {
  if (isDrawing || !rows.size) return;
  isDrawing = true;
  const asked = new Map([...rows].slice(0, 20));
  const query = [...asked.values()].map((row) => `row=${row.dataset.row}`).join("&");
  try {
    const answer = await get(`/charts?${query}`);
    if (!answer.ok) throw new Error(answer.statusText);
    for await (const line of lines(answer.body)) {
      if (line.note) note.textContent = line.note;
      const row = asked.get(line.id);
      if (!row) continue;
      row.innerHTML = line.html;
      view.unobserve(row);
      rows.delete(line.id);
      asked.delete(line.id);
    }
    note.textContent = "";
  } catch {
    note.textContent = "The dashboard does not answer. Is it still running?";
    await new Promise((resolve) => setTimeout(resolve, 5000));
  }
  isDrawing = false;
  draw();
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function observe(root) {
  for (const row of root.querySelectorAll("[data-row]")) view.observe(row);
  const more = document.querySelector(".more a");
  if (more) end.observe(more);
}

// -- more rows: the next page is read when its link comes into view --

const end = new IntersectionObserver(async ([{ target, isIntersecting }]) => {
  if (!isIntersecting) return;
  end.unobserve(target);
  const answer = await get(target.href).catch(() => ({}));
  if (!answer.ok) return; // the link is still there to be pressed
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const hadFocus = document.activeElement === target;
  const found = page.querySelectorAll("main .rows:not(#live .rows) > li");
  document.querySelector("main > .rows").append(...found);
  target.parentNode.replaceWith(page.querySelector(".more, .end, .empty"));
  if (hadFocus) found[0]?.querySelector("a").focus();
  observe(document);
}, { rootMargin: "600px" });

observe(document);

// -- a page that tells of a passing problem asks again by itself --

const retry = document.querySelector("[data-retry]");
if (retry) setTimeout(() => location.reload(), 1000 * retry.dataset.retry);
