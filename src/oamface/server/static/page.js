// The page: wires what the visitor does to images, camera and videos. Nothing is kept beyond this tab.

import { Answers } from "./ui/answers.js";
import { allowSaving, saveCsv, saveImage, saveJson, saveVideoCsv, saveVideoJson } from "./ui/saving.js";
import { $, announce, create } from "./ui/elements.js";
import { FaceList } from "./ui/faces.js";
import { Images, SERVER_READS } from "./ui/images.js";
import { Live } from "./ui/live.js";
import { chooseLanguage, currentLanguage, languageNames, loadMessages, t } from "./ui/messages.js";
import * as options from "./ui/options.js";
import { nobody, termsOf } from "./ui/phrases.js";
import { Stage } from "./ui/stage.js";
import { VideoView } from "./ui/video.js";

const answers = new Answers(showState);
const stage = new Stage(pointAtBox);
const faceList = new FaceList(pointAtCard);
const images = new Images(answers, show);
const live = new Live({
  answers,
  stage,
  showFaces,
  onSnapshot: (file, stay) => {
    if (!stay) leaveCamera();
    images.add([file], !stay);
  },
});
const video = new VideoView({ answers, stage, showFaces });
let view = "start"; // or image, live, video
/** @type {number | null} */
let open = null; // the face whose card is open
/** @type {object | null} */
let drawn = null; // what the stage shows

/** @param {"start" | "image" | "live" | "video"} name */
function setView(name) {
  view = name;
  stage.setStale(false);
  document.body.dataset.view = name;
  $("start").hidden = name !== "start";
  $("work").hidden = name === "start";
  $("back").hidden = !images.items.length;
  $("live-controls").hidden = name !== "live";
  if (name !== "video" && video.item) video.close();
  if (name !== "live") leaveCamera();
}

/** @param {import("./ui/images.js").Item | null} item */
async function show(item) {
  if (!item) {
    drawn = null;
    setView("start");
    return;
  }
  setView(item.kind);
  if (drawn === item && item.kind === "video") return;
  if (drawn !== item) {
    clearFaces();
    stage.show(null, stage.overlay.size);
    stage.note(t("status.opening"));
  }
  const isNew = drawn !== item;
  drawn = item;
  if (item.kind === "video") await video.open(item);
  else await showImage(item, isNew);
  showState();
}

/** @param {import("./ui/images.js").Item} item @param {boolean} isNew */
async function showImage(item, isNew) {
  const current = stage.frame.querySelector("img");
  let image = isNew ? null : current;
  if (isNew) {
    image = create("img", { src: item.url, alt: item.name });
    const readable = await image.decode().then(
      () => true,
      () => false,
    );
    if (drawn !== item) return;
    if (!readable) image = null; // such as TIFF, which the server reads
    const size = image
      ? { width: image.naturalWidth, height: image.naturalHeight }
      : (item.result ?? { width: 4, height: 3 });
    stage.show(image, size);
  }
  const { result, error } = item;
  const stale = images.isStale(item);
  stage.setStale(stale);
  if (result && !image) stage.show(null, result);
  if (result) {
    stage.draw(result.faces, result);
    stage.note(stale ? t("status.again") : noteOn(result) || (image ? "" : t("image.unseen")));
    faceList.clear();
    showFaces(result.faces, image);
    if (result.faces.length === 1) openCard(result.faces[0].id);
    else if (open !== null) openCard(open);
  } else if (error) {
    showProblem(item, error);
  } else {
    noteWaiting();
  }
}

/** What an image without an answer waits for. */
function noteWaiting() {
  const { share } = answers.state();
  const ask = () => {
    options.choosePlace("server");
    placeChanged();
  };
  if (answers.lacksKey) stage.note(t("error.key"), t("ask.key"), options.askForKey);
  else if (share !== null) stage.note(t("status.waiting"), t("ask.server"), answers.hasServer ? ask : undefined);
  else stage.note(t("status.looking"));
}

/** @param {Pick<import("./engine.js").Result, "faces" | "decision">} result */
function noteOn({ faces, decision }) {
  if (!faces.length) return nobody(decision !== undefined);
  return faces.some(({ attention }) => attention) ? t("attention.legend") : "";
}

/** @param {import("./ui/images.js").Item} item @param {Error & { code?: string }} error */
function showProblem(item, error) {
  const onDevice = item.askedPlace === "device";
  const unknownHere = onDevice && error.code === "image" && SERVER_READS.test(item.name);
  const askServer = answers.hasServer && (unknownHere || (onDevice && error.code === "pixels"));
  const code = unknownHere ? (askServer ? "format.server" : "format.none") : (error.code ?? "failed");
  const text = t(`error.${code}`);
  if (error.code === "key") stage.note(text, t("ask.key"), options.askForKey);
  else if (askServer) stage.note(text, t("ask.server"), () => images.analyze(item, "server"));
  else stage.note(text, t("retry"), () => images.retry());
  $("faces-title").textContent = "";
  writeSaving();
}

/** @param {(import("./engine.js").Face & { id: number })[]} faces @param {CanvasImageSource | null} source */
function showFaces(faces, source) {
  faceList.show(faces, source);
  $("faces-title").textContent = t(view === "video" ? "video.people" : "faces", { count: faces.length });
  writeSaving();
}

function writeSaving() {
  const any = view === "video"
    ? Boolean(video.people?.list().length)
    : images.items.some(({ result, error }) => result || error);
  allowSaving(any, view === "live" || (view === "image" && stage.frame.querySelector("img") !== null));
}

function clearFaces() {
  open = null;
  faceList.clear();
  stage.draw([], stage.overlay.size);
  $("faces-title").textContent = "";
}

/** @param {number | null} id */
function highlight(id) {
  stage.overlay.highlight(id);
  faceList.highlight(id);
}

/** @param {number} id */
function openCard(id) {
  open = id;
  faceList.open(id);
}

/** @param {number} id @param {"enter" | "leave" | "click"} event */
function pointAtBox(id, event) {
  if (event === "click") {
    openCard(id);
    faceList.focus(id);
  }
  highlight(event === "leave" ? null : id);
}

/** @param {number} id @param {"enter" | "leave" | "open" | "close"} event */
function pointAtCard(id, event) {
  if (event === "open") {
    openCard(id);
    if (view === "video") video.seekTo(id);
  }
  if (event === "close") open = null;
  highlight(event === "leave" ? null : id);
}

async function openCamera() {
  images.hide();
  clearFaces();
  drawn = live;
  setView("live");
  stage.note();
  if (await live.open()) $("snapshot").focus();
  else if (drawn === live) images.show(images.items.at(-1) ?? null);
  showState();
}

function leaveCamera() {
  if (live.running) live.close();
}

function showState() {
  const { place } = answers.state();
  const moving = view === "live" || view === "video";
  const { share, ...state } = answers.state(moving);
  if (images.shown?.kind === "image" && !images.shown.result && !images.shown.error) noteWaiting();
  const by = images.shown?.place ? { place: images.shown.place, text: t(`place.by.${images.shown.place}`) } : state;
  if (moving && share !== null && stage.frame.querySelector("video")) stage.note(state.text);
  $("place").dataset.place = by.place;
  if ($("place-text").textContent !== by.text) $("place-text").textContent = by.text;
  $("private").textContent = t(`start.private.${place === "none" ? "device" : place}`);
  const { model } = answers;
  for (const id of ["model", "use-model"]) $(id).textContent = model ? termsOf(model) : "";
  $("download").hidden = share === null;
  $("download").value = share ?? 0;
  document.querySelectorAll("[data-server]").forEach((element) => {
    /** @type {any} */ (element).hidden = !answers.hasServer;
  });
}

async function reconnect() {
  await answers.reconnect();
  if (images.shown?.error) showProblem(images.shown, images.shown.error); // the server may be offered now
}

function placeChanged() {
  if (options.place() === "device") answers.load();
  answers.changed();
  for (const item of images.items) if (item.kind === "image" && !item.result) item.asked = "";
  images.process();
}

/** @param {string} name of a sample image */
async function trySample(name) {
  const blob = await (await fetch(`samples/${name}.webp`)).blob();
  images.add([new File([blob], `${name}.webp`, { type: "image/webp" })]);
}

/** @param {"image" | "csv" | "json"} kind */
function saveAs(kind) {
  $("save").open = false;
  if (kind === "image")
    saveImage(
      images.shown?.name ?? "camera",
      view === "live" ? live.image : stage.frame.querySelector("img"),
      stage.overlay,
    );
  else if (view === "video" && video.people && video.item)
    (kind === "csv" ? saveVideoCsv : saveVideoJson)(video.item.name, video.people);
  else (kind === "csv" ? saveCsv : saveJson)(images.items);
}

/** @param {string} selector @param {(button: HTMLElement) => void} callback */
function onClick(selector, callback) {
  const buttons = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(selector));
  for (const button of buttons) button.addEventListener("click", () => callback(button));
}

function listen() {
  onClick("[data-action=add]", () => $("files").click());
  onClick("[data-action=camera]", openCamera);
  onClick("[data-sample]", (button) => trySample(button.dataset.sample ?? ""));
  $("files").addEventListener("change", () => {
    images.add($("files").files);
    $("files").value = "";
  });
  document.querySelector(".brand")?.addEventListener("click", (event) => {
    if (!images.items.length) return;
    event.preventDefault(); // the images would be lost
    images.show(null);
  });
  $("back").addEventListener("click", () => images.show(images.items.at(-1) ?? null));
  $("close").addEventListener("click", () => images.show(images.items.at(-1) ?? null));
  for (const kind of /** @type {const} */ (["image", "csv", "json"]))
    $(kind).addEventListener("click", () => saveAs(kind));
  $("save").addEventListener("toggle", writeSaving);
  $("clear").addEventListener("click", () => {
    $("save").open = false;
    images.clear();
    announce(t("status.cleared"));
  });
  options.onChange((what) => {
    if (what === "place") placeChanged();
    else if (what === "key") answers.load().then(() => images.retry());
    else if (view === "live") live.change();
    else if (view === "video") video.change();
    else {
      images.process();
      if (images.shown) show(images.shown);
    }
  });
  onClick("#use-open", () => $("use").showModal());
  listenForFiles();
  listenForMenus();
  addEventListener("pagehide", leaveCamera);
  addEventListener("online", reconnect);
  $("options").addEventListener("toggle", () => ($("options").open ? reconnect() : options.restoreCheck()));
  document.addEventListener("language", () => {
    document.title = t("title");
    options.writeCheck();
    faceList.clear();
    if (images.shown?.kind === "image") showImage(images.shown, false);
    if (view === "video") video.showPeople();
    if (view === "live") live.writePause();
    stage.overlay.layout();
    showState();
  });
}

function listenForFiles() {
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      document.body.classList.remove("over");
    });
  }
  document.addEventListener("drop", ({ dataTransfer }) => {
    if (dataTransfer?.files.length) images.add(dataTransfer.files);
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) images.add(clipboardData.files);
  });
}

/** Menus close as everywhere: with Escape, or with a click elsewhere. */
function listenForMenus() {
  const menus = /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details.menu"));
  const close = (/** @type {Event} */ { target }) => {
    for (const menu of menus) if (!menu.contains(/** @type {Node} */ (target))) menu.open = false;
  };
  document.addEventListener("click", close, { capture: true }); // before what was clicked opens one
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    for (const menu of menus) {
      if (menu.open) menu.querySelector("summary")?.focus();
      menu.open = false;
    }
  });
}

await loadMessages();
document.title = t("title");
$("language").append(
  ...languageNames().map(([code, name]) =>
    create("option", { value: code, textContent: name, selected: code === currentLanguage() }),
  ),
);
$("language").addEventListener("change", () => chooseLanguage($("language").value));
listen();
document.body.classList.add("ready");
navigator.serviceWorker?.register("service-worker.js").catch(() => null); // the page works without it, but not offline
await answers.start();
