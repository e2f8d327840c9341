// The page: images are analyzed by this server, or by a worker on this device, and the results drawn. Nothing is kept
// beyond this tab.

const $ = (id) => document.getElementById(id);
const TASKS = ["age", "mask", "gender", "race"];
const PALETTE = ["#00a878", "#d1495b", "#2f6fde", "#c77700", "#8a4fd3", "#00838f"];
const MAX_ATTEMPTS = 6; // while the server is busy
const NO_RUNTIME = "This installation cannot analyze in the browser: it was built without ONNX Runtime Web.";
const results = []; // { name, result } of every image on the page, for the CSV
const queue = []; // files
let running = false;
let total = 0;
let done = 0;
let stream = null;
let worker = null;

const showStatus = (text) => { $("status").textContent = text; };

function requestedTasks() {
  return TASKS.filter((task) => document.querySelector(`input[name=${task}]`).checked);
}

function add(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || file.type === "");
  if (!images.length) { showStatus("That is not an image."); return; }
  if (!requestedTasks().length) { showStatus("Choose at least one prediction."); return; }
  queue.push(...images);
  total += images.length;
  processQueue();
}

async function processQueue() {
  if (running || $("local").disabled) return; // disabled while the networks are downloaded
  running = true;
  $("progress").hidden = false;
  while (queue.length) {
    const file = queue.shift();
    $("progress").value = done / total;
    showStatus(`${done} of ${total} analyzed`);
    await show(file, await analyze(file));
    done += 1;
  }
  $("progress").value = 1;
  $("progress").hidden = true;
  showStatus(total === 1 ? "Analyzed." : `All ${total} images analyzed.`);
  total = done = 0;
  running = false;
}

const headers = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

function callWorker(message) {
  return new Promise((resolve) => {
    const id = crypto.randomUUID();
    const onError = () => resolve({ error: NO_RUNTIME });
    const onMessage = ({ data }) => {
      if (data.id !== id) return;
      worker.removeEventListener("message", onMessage);
      worker.removeEventListener("error", onError);
      resolve(data.result);
    };
    worker.addEventListener("message", onMessage);
    worker.addEventListener("error", onError);
    worker.postMessage({ id, ...message });
  });
}

async function switchLocal() {
  if (!$("local").checked) { showStatus("Images are analyzed by the server again."); return; }
  if (worker) { showStatus("Images stay on this device."); return; }
  showStatus("Downloading the networks to this device.");
  $("local").disabled = true;
  worker = new Worker("local.js", { type: "module" });
  const { error } = await callWorker({ headers: headers() });
  $("local").disabled = false;
  if (error) {
    worker.terminate();
    worker = null;
    $("local").checked = false;
    if (error.includes("key is needed")) $("key-field").hidden = false;
  }
  showStatus(error || "Images stay on this device from now on.");
  if (queue.length) processQueue();
}

async function analyze(file) { // schema oamface/1, or { error }
  const options = { tasks: requestedTasks(), crop: $("crop").checked, attention: $("attention").checked };
  if ($("local").checked) return callWorker({ file, options });
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      const url = `v1/analyze?${new URLSearchParams(options)}`;
      response = await fetch(url, { method: "POST", headers: headers(), body: file });
    } catch {
      return { error: "The server cannot be reached." };
    }
    if (response.status === 503 && attempt < MAX_ATTEMPTS) {
      const seconds = attempt * (Number(response.headers.get("Retry-After")) || 1);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    if (response.status === 401) $("key-field").hidden = false;
    const content = await response.json().catch(() => ({}));
    return response.ok ? content : { error: content.detail || `The server returned status ${response.status}.` };
  }
}

async function show(file, result) {
  const name = file.name || "image";
  const card = $("card").content.cloneNode(true).querySelector("article");
  card.querySelector("h3").textContent = name;
  $("results").prepend(card);
  if (result.error) {
    const line = document.createElement("p");
    line.className = "error";
    line.textContent = result.error;
    card.querySelector(".view").replaceWith(line);
    return;
  }
  results.push({ name, result });
  $("csv").disabled = $("clear").disabled = false;
  const count = result.faces.length;
  card.querySelector("h3").textContent = `${name}: ${count === 1 ? "one face" : `${count || "no"} faces`}`;
  await draw(card.querySelector("canvas"), file, result);
  card.querySelector(".faces").append(...result.faces.map(describe));
}

async function draw(canvas, file, result) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch { // a format that the server reads and the browser does not, such as TIFF
    canvas.remove();
    return;
  }
  const scale = Math.min(1, 1600 / Math.max(result.width, result.height));
  canvas.width = Math.round(result.width * scale);
  canvas.height = Math.round(result.height * scale);
  canvas.setAttribute("aria-label", `The image, with ${result.faces.length} faces marked`);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  result.faces.forEach((face) => drawAttention(context, face, scale));
  context.lineWidth = Math.max(2, canvas.width / 400);
  context.font = `600 ${Math.max(14, canvas.width / 45)}px system-ui`;
  result.faces.forEach((face, index) => {
    const [x, y, width, height] = face.box.map((value) => value * scale);
    context.strokeStyle = PALETTE[index % PALETTE.length];
    context.strokeRect(x, y, width, height);
    const label = ` ${index + 1} `;
    context.fillStyle = context.strokeStyle;
    const labelHeight = Math.max(18, canvas.width / 36);
    context.fillRect(x, y, context.measureText(label).width, labelHeight);
    context.fillStyle = "#fff";
    context.fillText(label, x, y + labelHeight * 0.8);
  });
}

function drawAttention(context, face, scale) { // red where the network takes the face to be occluded
  if (!face.attention) return;
  const { values, corners } = face.attention;
  const map = document.createElement("canvas");
  map.width = values[0].length;
  map.height = values.length;
  const mapContext = map.getContext("2d");
  values.forEach((row, y) => row.forEach((value, x) => {
    mapContext.fillStyle = `rgba(214, 40, 40, ${0.55 * (1 - value)})`;
    mapContext.fillRect(x, y, 1, 1);
  }));
  const [[x0, y0], [x1, y1], , [x3, y3]] = corners.map((corner) => corner.map((value) => value * scale));
  const right = [(x1 - x0) / map.width, (y1 - y0) / map.width];
  const down = [(x3 - x0) / map.height, (y3 - y0) / map.height];
  context.save();
  context.setTransform(...right, ...down, x0, y0);
  context.imageSmoothingEnabled = true;
  context.drawImage(map, 0, 0);
  context.restore();
}

function describe(face, index) { // a list item
  const item = document.createElement("li");
  item.style.borderTopColor = PALETTE[index % PALETTE.length];
  const heading = document.createElement("h4");
  heading.textContent = `Face ${index + 1}`;
  const list = document.createElement("dl");
  item.append(heading, list);
  if (face.detected === false) {
    addRow(list, "Detection", "no face was detected: taken to fill the image").className = "uncertain";
  }
  if (face.age) {
    const { years, low, high, level } = face.age;
    const interval = `${Math.round(low)} to ${Math.round(high)} in ${Math.round(level * 100)} of 100 such faces`;
    const chart = meter([["fill", low, high - low], ["mark", years - 0.5, 1]]);
    addRow(list, "Age", `${Math.round(years)} years, ${interval}`, chart);
  }
  for (const task of ["mask", "gender", "race"]) {
    if (!face[task]) continue;
    const { label, probabilities } = face[task];
    const uncertain = label === "uncertain";
    const title = task[0].toUpperCase() + task.slice(1);
    const text = addRow(list, title, uncertain ? "uncertain: close to a guess" : label);
    if (uncertain) text.className = "uncertain";
    const likely = Object.entries(probabilities).sort((first, second) => second[1] - first[1]).slice(0, 4);
    for (const [name, probability] of likely) text.parentElement.append(bar(name, probability));
  }
  addRow(list, "Visible", `${Math.round(face.visibility * 100)} %`);
  return item;
}

function addRow(list, name, text, ...more) { // the element of the text
  const term = document.createElement("dt");
  const definition = document.createElement("dd");
  const span = document.createElement("span");
  term.textContent = name;
  span.textContent = text;
  definition.append(span, ...more);
  list.append(term, definition);
  return span;
}

function bar(name, share) {
  const line = document.createElement("div");
  line.className = "bar";
  const label = document.createElement("span");
  const value = document.createElement("span");
  label.textContent = name;
  value.textContent = `${Math.round(share * 100)} %`;
  line.append(label, meter([["fill", 0, share * 100]]), value);
  return line;
}

function meter(ranges) { // [class, start, width] on a scale of 0 to 100; hidden from screen readers, which get the text
  const create = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = create("svg");
  svg.setAttribute("class", "meter");
  svg.setAttribute("viewBox", "0 0 100 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, start, width] of [["track", 0, 100], ...ranges]) {
    const rectangle = create("rect");
    rectangle.setAttribute("class", name);
    rectangle.setAttribute("x", start);
    rectangle.setAttribute("y", name === "mark" ? 0 : 1);
    rectangle.setAttribute("width", Math.max(0, width));
    rectangle.setAttribute("height", name === "mark" ? 8 : 6);
    svg.append(rectangle);
  }
  return svg;
}

function downloadCsv() {
  const columns = ["image", "face", "x", "y", "width", "height", "years", "low", "high", "gender", "gender_probability",
    "race", "race_probability", "mask", "mask_probability", "visibility", "detected"];
  const cell = (value) => {
    const text = value === undefined ? "" : String(value);
    // A spreadsheet would run a name as a formula.
    const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = results.flatMap(({ name, result }) => result.faces.map((face, index) => [
    name, index + 1, ...face.box, face.age?.years, face.age?.low, face.age?.high,
    ...["gender", "race", "mask"].flatMap((task) => [face[task]?.label, face[task]?.probability]),
    face.visibility, face.detected,
  ].map(cell).join(",")));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[columns.join(","), ...lines].join("\r\n"), "\r\n"], { type: "text/csv" }));
  link.download = "oamface.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch {
    showStatus("The camera cannot be used; is it allowed for this page?");
    return;
  }
  $("live").hidden = false;
  $("viewfinder").srcObject = stream;
  await $("viewfinder").play();
  $("shoot").focus();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("live").hidden = true;
  $("camera").focus();
}

function takeImage() {
  const video = $("viewfinder");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => add([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
}

$("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
$("local").addEventListener("change", switchLocal);
$("camera").addEventListener("click", openCamera);
$("close").addEventListener("click", closeCamera);
$("shoot").addEventListener("click", takeImage);
$("csv").addEventListener("click", downloadCsv);
$("clear").addEventListener("click", () => {
  $("results").replaceChildren();
  results.length = 0;
  $("csv").disabled = $("clear").disabled = true;
  showStatus("Cleared.");
});
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const type of ["dragleave", "drop"]) {
  document.addEventListener(type, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
}
document.addEventListener("drop", (event) => add(event.dataTransfer.files));
document.addEventListener("paste", ({ clipboardData: { files } }) => { if (files.length) add(files); });
addEventListener("pagehide", closeCamera);
