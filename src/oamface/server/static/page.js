// The page: pictures in, questions to this very server or to a worker on this device, answers drawn. Nothing is kept
// beyond this tab.

const $ = (id) => document.getElementById(id);
const TASKS = ["age", "mask", "gender", "race"];
const PALETTE = ["#00a878", "#d1495b", "#2f6fde", "#c77700", "#8a4fd3", "#00838f"];
const answers = []; // { name, answer } of every picture on the page, for the CSV
let waiting = [];
let running = false;
let total = 0;
let done = 0;
let stream = null;
let worker = null;

const say = (text) => { $("status").textContent = text; };

function chosen() {
  return TASKS.filter((task) => document.querySelector(`input[name=${task}]`).checked);
}

function add(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || file.type === "");
  if (!pictures.length) { say("That holds no picture."); return; }
  if (!chosen().length) { say("Choose at least one thing to ask."); return; }
  waiting.push(...pictures);
  total += pictures.length;
  work();
}

async function work() {
  if (running || $("local").disabled) return; // the networks are still on their way
  running = true;
  $("progress").hidden = false;
  while (waiting.length) {
    const file = waiting.shift();
    $("progress").value = done / total;
    say(`${done} of ${total} answered`);
    await show(file, await ask(file));
    done += 1;
  }
  $("progress").value = 1;
  $("progress").hidden = true;
  say(total === 1 ? "Answered." : `All ${total} photographs answered.`);
  total = done = 0;
  running = false;
}

const headers = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

function askWorker(message) {
  return new Promise((resolve) => {
    const id = crypto.randomUUID();
    const broken = () => resolve({ error: "This installation cannot answer in the browser: its runtime was not there when it was built." });
    const told = ({ data }) => {
      if (data.id !== id) return;
      worker.removeEventListener("message", told);
      worker.removeEventListener("error", broken);
      resolve(data.answer);
    };
    worker.addEventListener("message", told);
    worker.addEventListener("error", broken);
    worker.postMessage({ id, ...message });
  });
}

async function goLocal() {
  if (!$("local").checked) { say("Photographs are answered by the server again."); return; }
  if (worker) { say("Photographs stay on this device."); return; }
  say("The networks are on their way to this device.");
  $("local").disabled = true;
  worker = new Worker("local.js", { type: "module" });
  const { error } = await askWorker({ headers: headers() });
  $("local").disabled = false;
  if (error) {
    worker.terminate();
    worker = null;
    $("local").checked = false;
    if (error.includes("key is needed")) $("keyed").hidden = false;
  }
  say(error || "Photographs stay on this device from now on.");
  if (waiting.length) work();
}

async function ask(file) {
  if ($("local").checked) {
    return askWorker({ file, options: { tasks: chosen(), crop: $("crop").checked, attention: $("attention").checked } });
  }
  const query = new URLSearchParams({ tasks: chosen().join(","), attention: $("attention").checked, crop: $("crop").checked });
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(`v1/analyze?${query}`, { method: "POST", headers: headers(), body: file });
    } catch {
      return { error: "The server cannot be reached." };
    }
    if (response.status === 503 && attempt < 5) { // busy: as long as it asks for, and a little more each time
      await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get("Retry-After")) || 1) * (1 + attempt)));
      continue;
    }
    if (response.status === 401) $("keyed").hidden = false;
    const told = await response.json().catch(() => ({}));
    return response.ok ? told : { error: told.detail || `The server said ${response.status}.` };
  }
}

async function show(file, answer) {
  const name = file.name || "photograph";
  const card = $("picture").content.cloneNode(true).querySelector("article");
  card.querySelector("h3").textContent = name;
  $("results").prepend(card);
  const list = card.querySelector(".faces");
  if (answer.error) {
    const line = document.createElement("p");
    line.className = "error";
    line.textContent = answer.error;
    card.querySelector(".view").replaceWith(line);
    return;
  }
  answers.push({ name, answer });
  $("csv").disabled = $("clear").disabled = false;
  const count = answer.faces.length;
  card.querySelector("h3").textContent = `${name}: ${count === 1 ? "one face" : `${count || "no"} faces`}`;
  await draw(card.querySelector("canvas"), file, answer);
  answer.faces.forEach((face, number) => list.append(describe(face, number)));
}

async function draw(canvas, file, answer) {
  let picture;
  try {
    picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch { // a format that the server reads and the browser does not, such as TIFF
    canvas.remove();
    return;
  }
  const scale = Math.min(1, 1600 / Math.max(answer.width, answer.height));
  canvas.width = Math.round(answer.width * scale);
  canvas.height = Math.round(answer.height * scale);
  canvas.setAttribute("aria-label", `The photograph, with ${answer.faces.length} faces marked`);
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  answer.faces.forEach((face) => tint(pen, face, scale));
  pen.lineWidth = Math.max(2, canvas.width / 400);
  pen.font = `600 ${Math.max(14, canvas.width / 45)}px system-ui`;
  answer.faces.forEach((face, number) => {
    const [x, y, width, height] = face.box.map((value) => value * scale);
    pen.strokeStyle = PALETTE[number % PALETTE.length];
    pen.strokeRect(x, y, width, height);
    const label = ` ${number + 1} `;
    pen.fillStyle = pen.strokeStyle;
    const tall = Math.max(18, canvas.width / 36);
    pen.fillRect(x, y, pen.measureText(label).width, tall);
    pen.fillStyle = "#fff";
    pen.fillText(label, x, y + tall * 0.8);
  });
}

function tint(pen, face, scale) { // red where the face is taken to be covered
  if (!face.attention) return;
  const { values, corners } = face.attention;
  const map = document.createElement("canvas");
  map.width = values[0].length;
  map.height = values.length;
  const inks = map.getContext("2d");
  values.forEach((row, y) => row.forEach((share, x) => {
    inks.fillStyle = `rgba(214, 40, 40, ${0.55 * (1 - share)})`;
    inks.fillRect(x, y, 1, 1);
  }));
  const [[x0, y0], [x1, y1], , [x3, y3]] = corners.map((corner) => corner.map((value) => value * scale));
  pen.save();
  pen.setTransform((x1 - x0) / map.width, (y1 - y0) / map.width, (x3 - x0) / map.height, (y3 - y0) / map.height, x0, y0);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(map, 0, 0);
  pen.restore();
}

function describe(face, number) {
  const item = document.createElement("li");
  item.style.borderTopColor = PALETTE[number % PALETTE.length];
  const title = document.createElement("h4");
  title.textContent = `Face ${number + 1}`;
  const list = document.createElement("dl");
  item.append(title, list);
  if (face.detected === false) row(list, "Detection", "no face was detected: taken to fill the image").className = "unsure";
  if (face.age) {
    const { years, low, high, level } = face.age;
    row(list, "Age", `${Math.round(years)} years, ${Math.round(low)} to ${Math.round(high)} in ${Math.round(level * 100)} of 100 such faces`,
      range(low, high, years));
  }
  for (const task of ["mask", "gender", "race"]) {
    if (!face[task]) continue;
    const { label, probabilities } = face[task];
    const unsure = label === "uncertain";
    const value = row(list, task[0].toUpperCase() + task.slice(1), unsure ? "uncertain: nearer to a guess" : label);
    if (unsure) value.className = "unsure";
    const likely = Object.entries(probabilities).sort((one, other) => other[1] - one[1]).slice(0, 4);
    for (const [name, share] of likely) value.parentElement.append(bar(name, share));
  }
  row(list, "Uncovered", `${Math.round(face.visibility * 100)} %`);
  return item;
}

function row(list, name, text, ...more) {
  const term = document.createElement("dt");
  const value = document.createElement("dd");
  const words = document.createElement("span");
  term.textContent = name;
  words.textContent = text;
  value.append(words, ...more);
  list.append(term, value);
  return words;
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

function range(low, high, years) {
  return meter([["fill", low, high - low], ["mark", years - 0.5, 1]]);
}

function meter(parts) { // 0 to 100, hidden from readers, who get the words
  const make = (kind) => document.createElementNS("http://www.w3.org/2000/svg", kind);
  const picture = make("svg");
  picture.setAttribute("class", "meter");
  picture.setAttribute("viewBox", "0 0 100 8");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  for (const [kind, start, width] of [["track", 0, 100], ...parts]) {
    const part = make("rect");
    part.setAttribute("class", kind);
    part.setAttribute("x", start);
    part.setAttribute("y", kind === "mark" ? 0 : 1);
    part.setAttribute("width", Math.max(0, width));
    part.setAttribute("height", kind === "mark" ? 8 : 6);
    picture.append(part);
  }
  return picture;
}

function csv() {
  const columns = ["picture", "face", "x", "y", "width", "height", "years", "low", "high", "gender", "gender_probability", "race",
    "race_probability", "mask", "mask_probability", "visibility", "detected"];
  const cell = (value) => {
    const text = value === undefined ? "" : String(value);
    const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text; // no formula for a spreadsheet
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = answers.flatMap(({ name, answer }) => answer.faces.map((face, number) => [
    name, number + 1, ...face.box, face.age?.years, face.age?.low, face.age?.high, face.gender?.label, face.gender?.probability,
    face.race?.label, face.race?.probability, face.mask?.label, face.mask?.probability, face.visibility, face.detected,
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
    say("The camera cannot be used; is it allowed for this page?");
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

function shoot() {
  const view = $("viewfinder");
  const canvas = document.createElement("canvas");
  canvas.width = view.videoWidth;
  canvas.height = view.videoHeight;
  canvas.getContext("2d").drawImage(view, 0, 0);
  canvas.toBlob((blob) => add([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
}

$("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
$("local").addEventListener("change", goLocal);
$("camera").addEventListener("click", openCamera);
$("close").addEventListener("click", closeCamera);
$("shoot").addEventListener("click", shoot);
$("csv").addEventListener("click", csv);
$("clear").addEventListener("click", () => {
  $("results").replaceChildren();
  answers.length = 0;
  $("csv").disabled = $("clear").disabled = true;
  say("Cleared.");
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
}
document.addEventListener("drop", (event) => add(event.dataTransfer.files));
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });
addEventListener("pagehide", closeCamera);
