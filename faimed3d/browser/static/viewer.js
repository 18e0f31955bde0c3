// The controls around NiiVue (https://niivue.com): the same in a notebook, as an anywidget, and in a saved page.
// Positions are (x, y, z) in mm, LPS, as in Python; NiiVue's are RAS.

const DRAG = { contrast: 1, pan: 3, callbackOnly: 5, crosshair: 8 };
const SLICES = { axial: 0, coronal: 1, sagittal: 2, all: 3, "3d": 4 };
const RENDER = { never: 0, always: 1 };
const LAYOUT = { auto: 0, grid: 2 };
const ENDS = [["R", "L"], ["A", "P"], ["I", "S"]];
const ZOOM_STEP = 1.1;
const OPTIONS = {
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  showAllOrientationMarkers: true,
  isForceMouseClickToVoxelCenters: true,
  isSliceMM: false,
  dragAndDropEnabled: false,
  viewModeHotKey: "",
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
  loadingText: "",
  logLevel: "error",
  meshThicknessOn2D: 0,
  multiplanarPadPixels: 4,
  crosshairWidth: 0.25,
  crosshairWidthUnit: "percent",
  crosshairGap: 0,
  crosshairColor: [0.3, 0.85, 0.45, 1],
  fontColor: [0.95, 0.85, 0.35, 1],
  dragMode: DRAG.callbackOnly, // of the right button, which we follow ourselves: the wheel then scrolls slices
  mouseEventConfig: {
    leftButton: { primary: DRAG.crosshair, withShift: DRAG.pan },
    rightButton: DRAG.callbackOnly,
    centerButton: DRAG.pan,
  },
  touchEventConfig: { singleTouch: DRAG.crosshair, doubleTouch: DRAG.pan },
};

const flipped = (p) => [-p[0], -p[1], p[2]]; // LPS to RAS and back
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

// ---- bytes

export async function unpack(bytes) {
  const packed = new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength);
  if (packed[0] !== 31 || packed[1] !== 139) return packed.slice().buffer;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  return bytes;
}

export async function loadEngine(packed) {
  // one copy for all viewers of a page
  if (!globalThis.__faimed3dEngine) {
    globalThis.__faimed3dEngine = (async () => {
      const url = URL.createObjectURL(new Blob([await unpack(packed)], { type: "text/javascript" }));
      try {
        return await import(url);
      } finally {
        URL.revokeObjectURL(url);
      }
    })();
  }
  return globalThis.__faimed3dEngine;
}

// ---- the viewer

export class Viewer {
  // described, files: of faimed3d/browser/files.py; surfaces: function (labels index) -> promise of MZ3 buffers;
  // cell: a canvas that another viewer has left, for to make one takes longest
  constructor(root, engine, described, files, state, changed, surfaces, cell) {
    Object.assign(this, { root, engine, described, files, changed, surfaces, cell });
    this.state = {
      position: null, window: null, channel: 0, shown: 0, opacity: 0.5, outline: false, plane: "all", zoom: 1,
      blend: 0.5, beside: false, smooth: true, crosshair: true, hidden: [], ...state,
    };
    this.windows = described.pictures.map((picture) => picture.windows.map((one) => [...one]));
    this.surfaceOf = {};
    this.ready = this.start();
  }

  async start() {
    this.build();
    try {
      this.cells = [await this.canvas()];
      const { NVImage } = this.engine;
      const load = (file, name, more) =>
        NVImage.loadFromUrl({ url: this.files[file], name: `${name}.nii`, cal_min: 0, cal_max: 1, ...more });
      this.pictures = [];
      for (const [k, picture] of this.described.pictures.entries()) {
        this.pictures.push(await load(picture.file, `picture${k}`, { colormap: k ? "hot" : "gray" }));
        this.applyWindow(k);
      }
      this.labels = [];
      for (const [k, labels] of this.described.labels.entries()) this.labels.push(await load(labels.file, `labels${k}`));
      this.files = null;
      if (this.state.window) this.windows[0][this.state.channel] = [...this.state.window];
      this.atOnce(() => this.applyAll());
    } catch (error) {
      this.root.replaceChildren(element("div", { className: "f3d-error", textContent: this.explain(error) }));
      throw error;
    }
    return this;
  }

  explain(error) {
    return /webgl/i.test(`${error}`)
      ? "This browser does not offer WebGL 2, which the viewer needs: switch on hardware acceleration, or use another browser."
      : `The viewer could not start: ${error}`;
  }

  get nv() {
    return this.cells[0].nv;
  }

  leave() {
    // one canvas for the next viewer
    this.needCells(1);
    const [cell] = this.cells;
    cell.nv.meshes = [];
    cell.nv.scene.pan2Dxyzmm.set([0, 0, 0, 1]);
    this.changed = null;
    return cell;
  }

  async canvas() {
    if (this.cell) {
      const given = this.cell;
      this.cell = null;
      given.cell.viewer = this;
      given.nv.opts.isOrientationTextVisible = this.described.letters;
      this.stage.append(given.cell);
      return given;
    }
    const canvas = element("canvas");
    const caption = element("span");
    const cell = element("div", { className: "f3d-cell" }, canvas, caption);
    this.stage.append(cell);
    const nv = new this.engine.Niivue({ ...OPTIONS, isOrientationTextVisible: this.described.letters });
    await nv.attachToCanvas(canvas);
    cell.viewer = this;
    nv.onLocationChange = (where) => cell.viewer.moved(nv, where);
    const image3D = nv.drawImage3D;
    nv.drawImage3D = (...args) => (nv.meshes.length ? undefined : image3D.apply(nv, args)); // surfaces stand alone
    // NiiVue moves the letters of a single plane into the picture where that does not fill the canvas
    nv.drawSliceOrientationText = (where, plane) =>
      Object.getPrototypeOf(nv).drawSliceOrientationText.call(nv, where, plane);
    // the edges of labels are those of voxels, whether the image is smooth or not
    const filter = nv.updateInterpolation;
    nv.updateInterpolation = (layer, ...more) => {
      const { isNearestInterpolation } = nv.opts;
      if (layer > 0 && !cell.viewer.isBlended) nv.opts.isNearestInterpolation = true;
      filter.call(nv, layer, ...more);
      nv.opts.isNearestInterpolation = isNearestInterpolation;
    };
    this.listen(cell, nv);
    return { canvas, caption, cell, nv };
  }

  // -- what the mouse does beyond NiiVue

  listen(cell, nv) {
    cell.addEventListener("mousedown", (event) => {
      if (event.button !== 2 && !(event.button === 0 && cell.viewer.windowing)) return;
      event.preventDefault();
      event.stopPropagation();
      cell.viewer.dragWindow(event);
    }, true);
    cell.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation(); // JupyterLab has a menu of its own
    }, true);
    cell.addEventListener("dblclick", (event) => {
      event.stopPropagation(); // NiiVue would choose a window of its own
      cell.viewer.set({ window: cell.viewer.firstWindow }, true);
    }, true);
    cell.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      cell.viewer.set({ zoom: cell.viewer.state.zoom * (event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP) }, true);
    }, { capture: true, passive: false });
    for (const name of ["mouseup", "touchend"]) cell.addEventListener(name, () => cell.viewer.follow(nv));
    cell.addEventListener("mousemove", (event) => event.buttons && cell.viewer.follow(nv));
  }

  get firstWindow() {
    return [...this.described.pictures[0].windows[this.state.channel]];
  }

  dragWindow(start) {
    const [centre, width] = this.windows[0][this.state.channel];
    const size = this.stage.getBoundingClientRect();
    const [low, high] = this.described.pictures[0].ranges[this.state.channel];
    const step = Math.max(2 * width, (high - low) / 8) / Math.max(200, Math.min(size.width, size.height));
    const move = (event) => {
      const across = (event.clientX - start.clientX) * step;
      const up = (start.clientY - event.clientY) * step;
      this.set({ window: [centre + up, Math.max(width + across, (high - low) * 1e-4, 1e-12)] }, true);
    };
    const stop = () => {
      window.removeEventListener("mousemove", move, true);
      window.removeEventListener("mouseup", stop, true);
    };
    window.addEventListener("mousemove", move, true);
    window.addEventListener("mouseup", stop, true);
  }

  follow(nv) {
    // the other canvas shows what this one does
    for (const { nv: other } of this.cells) {
      if (other === nv) continue;
      other.scene.pan2Dxyzmm = nv.scene.pan2Dxyzmm.slice();
      other.scene.crosshairPos = nv.scene.crosshairPos.slice();
      other.drawScene();
    }
  }

  // -- state

  set(changes, tell = false) {
    const state = this.state;
    const before = { ...state };
    Object.assign(state, changes);
    if (!this.labels) return; // not loaded: start() applies all
    const has = (...keys) => keys.some((key) => key in changes && changes[key] !== before[key]);
    this.atOnce(() => this.apply(has, before));
    this.refreshControls();
    if (tell) this.tell(Object.keys(changes));
  }

  apply(has, before) {
    const { state } = this;
    if (has("window")) this.windows[0][state.channel] = [...state.window];
    if (has("channel")) this.changeChannel();
    if (has("shown", "beside", "hidden", "blend", "opacity", "outline", "channel")) this.applyLayers();
    else if (has("window")) this.later("window", () => this.redrawPicture());
    if (has("plane", "beside", "crosshair", "smooth")) this.applyPlane();
    if (has("zoom")) this.applyZoom(before.zoom);
    if (has("position")) this.applyPosition();
  }

  atOnce(action) {
    // one drawing for all that changes
    for (const { nv } of this.cells) nv.isBusy = true;
    try {
      action();
    } finally {
      for (const { nv } of this.cells) {
        nv.isBusy = false;
        if (nv.needsRefresh) nv.drawScene();
      }
    }
  }

  tell(keys) {
    this.told = new Set([...(this.told ?? []), ...keys]);
    this.later("tell", () => {
      const changes = Object.fromEntries([...this.told].map((key) => [key, this.state[key]]));
      this.told = null;
      this.changed?.(changes);
    }, 50);
  }

  later(name, action, delay = 0) {
    this.waiting ??= {};
    if (this.waiting[name]) return;
    this.waiting[name] = true;
    const run = () => {
      this.waiting[name] = false;
      action();
    };
    if (delay) setTimeout(run, delay);
    else requestAnimationFrame(run);
  }

  applyAll() {
    this.applyWindow(0);
    this.pictures[0].frame4D = this.state.channel;
    this.applyLayers();
    this.applyPlane();
    this.applyZoom(1);
    if (this.state.position) this.applyPosition();
    else this.nv.createOnLocationChange();
    this.state.window = this.windows[0][this.state.channel];
    this.refreshControls();
    this.nv.resizeListener(); // the controls above and below have their heights now
  }

  applyWindow(k) {
    const channel = Math.min(k ? 0 : this.state.channel, this.windows[k].length - 1);
    const [centre, width] = this.windows[k][channel];
    this.pictures[k].cal_min = centre - width / 2;
    this.pictures[k].cal_max = centre + width / 2;
  }

  redrawPicture() {
    this.applyWindow(0);
    for (const { nv } of this.cells) {
      if (nv.volumes[0] !== this.pictures[0]) continue;
      nv.refreshLayers(this.pictures[0], 0);
      nv.drawScene();
    }
  }

  changeChannel() {
    this.state.channel = clamp(Math.round(this.state.channel), 0, this.windows[0].length - 1);
    this.pictures[0].frame4D = this.state.channel;
    this.state.window = this.windows[0][this.state.channel];
    this.applyWindow(0);
    this.tell(["window", "channel"]);
  }

  get isBlended() {
    return this.second && this.cells?.length === 1 && this.state.blend > 0;
  }

  get second() {
    return this.pictures[1];
  }

  applyLayers() {
    const { shown, beside, blend, opacity, outline } = this.state;
    this.applyWindow(0);
    const count = beside && (this.second || this.labels.length > 1) ? 2 : 1;
    if (this.cells.length !== count) {
      this.needCells(count).then(() => this.atOnce(() => this.applyLayers()));
      return;
    }
    for (const [k, { nv, caption }] of this.cells.entries()) {
      const two = this.cells.length > 1;
      const layers = [this.pictures[0]];
      let number = shown;
      if (two && this.second) layers[0] = this.pictures[k];
      else if (two) number = k;
      else if (this.second && blend > 0) {
        this.second.opacity = blend;
        layers.push(this.second);
      }
      if (two && this.second) this.second.opacity = 1;
      if (this.second) this.second.colormap = two ? "gray" : "hot";
      const labels = this.labels[number];
      if (labels) {
        labels.setColormapLabel(this.table(number));
        labels.opacity = opacity;
        if (opacity > 0) layers.push(labels);
      }
      caption.textContent = !two ? "" : this.second ? this.described.pictures[k].name : this.described.labels[k].name;
      nv.opts.atlasOutline = outline ? 1 : 0;
      nv.volumes = layers;
      nv.back = layers[0];
      nv.overlays = layers.slice(1);
      nv.updateGLVolume();
    }
    if (this.cells.length > 1) this.applyPlane();
    this.paintSurfaces();
    this.refreshControls();
  }

  table(number) {
    const { classes } = this.described.labels[number];
    const hidden = this.state.hidden;
    const pick = (part) => [0, ...classes.map((one) => one.color[part])];
    return {
      R: pick(0), G: pick(1), B: pick(2),
      A: [0, ...classes.map((one) => (hidden.includes(one.label) ? 0 : 255))],
      labels: ["", ...classes.map((one) => one.name)],
    };
  }

  needCells(count) {
    this.changing ??= this.changeCells(count).finally(() => (this.changing = null));
    return this.changing;
  }

  async changeCells(count) {
    while (this.cells.length > count) {
      const { nv, cell } = this.cells.pop();
      nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
      cell.remove();
    }
    while (this.cells.length < count) this.cells.push(await this.canvas());
    this.follow(this.nv);
  }

  applyPlane() {
    const { plane, crosshair, smooth } = this.state;
    for (const [k, { nv }] of this.cells.entries()) {
      nv.opts.crosshairWidth = crosshair ? OPTIONS.crosshairWidth : 0;
      nv.opts.isNearestInterpolation = !smooth;
      nv.opts.multiplanarShowRender = k === 0 && nv.meshes.length ? RENDER.always : RENDER.never;
      nv.setInterpolation(!smooth);
      nv.opts.multiplanarLayout = nv.opts.multiplanarShowRender === RENDER.always ? LAYOUT.grid : LAYOUT.auto;
      nv.setSliceType(SLICES[plane]);
    }
    if (plane === "all" || plane === "3d") this.needSurfaces();
  }

  applyZoom(before) {
    this.state.zoom = clamp(this.state.zoom, 0.2, 20);
    for (const { nv } of this.cells) {
      const pan = nv.scene.pan2Dxyzmm;
      const mm = nv.frac2mm(nv.scene.crosshairPos); // stays where it is on the screen
      for (let k = 0; k < 3; k++) pan[k] += (before - this.state.zoom) * mm[k];
      pan[3] = this.state.zoom;
      if (this.state.zoom === 1 && before !== 1) pan.fill(0, 0, 3);
      nv.drawScene();
    }
  }

  applyPosition() {
    for (const { nv } of this.cells) {
      const frac = nv.mm2frac(flipped(this.state.position), 0, true);
      nv.scene.crosshairPos = frac.map((part) => clamp(part, 0, 1));
      nv.drawScene();
    }
    this.nv.createOnLocationChange();
  }

  moved(nv, where) {
    this.state.position = flipped([...where.mm].slice(0, 3));
    this.follow(nv);
    this.refreshFoot();
    this.tell(["position"]);
  }

  // -- surfaces

  async needSurfaces() {
    const number = this.state.shown;
    if (!this.surfaces || !this.described.labels[number]) return;
    if (this.surfaceOf[number] === undefined) {
      this.surfaceOf[number] = null;
      this.surfaceOf[number] = await this.surfaces(number);
      await this.paintSurfaces();
    }
  }

  async paintSurfaces() {
    const number = this.state.shown;
    const buffers = this.surfaceOf[number] ?? [];
    if (this.painted === number && this.nv.meshes.length === buffers.length) {
      for (const [k, mesh] of this.nv.meshes.entries()) mesh.visible = this.isVisible(number, k);
      this.nv.drawScene();
      return;
    }
    this.painted = number;
    // not by nv.addMesh, which sends all volumes to the GPU again
    const { gl } = this.nv;
    const load = (buffer, k) => {
      const rgba255 = [...this.described.labels[number].classes[k].color, 255];
      const name = `surface${k}.mz3`;
      return this.engine.NVMesh.loadFromUrl({ url: name, name, buffer, rgba255, visible: this.isVisible(number, k), gl });
    };
    const meshes = await Promise.all(buffers.map(load));
    if (this.painted !== number) return; // another mask was chosen meanwhile
    this.nv.meshes = meshes;
    this.applyPlane();
    if (this.surfaceOf[number] === undefined) this.needSurfaces();
  }

  isVisible(number, k) {
    return !this.state.hidden.includes(this.described.labels[number].classes[k].label);
  }

  // -- controls

  build() {
    const { described } = this;
    const button = (text, title, onclick) => element("button", { textContent: text, title, onclick, type: "button" });
    const option = (value, text) => element("option", { value, textContent: text });
    const c = (this.controls = {});
    const bar = element("div", { className: "f3d-bar" });
    c.planes = Object.fromEntries(
      [["all", "All"], ["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["3d", "3D"]].map(
        ([plane, text]) => [plane, button(text, `show ${text.toLowerCase()}`, () => this.set({ plane }, true))],
      ),
    );
    bar.append(element("label", {}, ...Object.values(c.planes)));

    c.preset = element("select", { title: "window", onchange: () => {
      if (c.preset.value) this.set({ window: [...described.presets[c.preset.value]] }, true);
    } }, option("", "window"), ...Object.keys(described.presets).map((name) => option(name, name)));
    const number = (part, title) => element("input", { type: "number", step: "any", title, onchange: (event) => {
      const window = [...this.windows[0][this.state.channel]];
      const value = Number(event.target.value);
      if (Number.isFinite(value) && (part === 0 || value > 0)) window[part] = value;
      this.set({ window }, true);
    } });
    c.centre = number(0, "centre of the window");
    c.width = number(1, "width of the window");
    c.drag = button("Drag", "left-drag changes the window (as right-drag always does)", () => {
      this.windowing = !this.windowing;
      this.refreshControls();
    });
    if (described.pictures[0].name) bar.append(element("label", {}, c.preset, c.centre, c.width, c.drag));

    const range = (key, max, step, title) => element("input", {
      type: "range", min: 0, max, step, title, oninput: (event) => this.set({ [key]: Number(event.target.value) }, true),
    });
    const check = (key, title) => element("input", {
      type: "checkbox", title, onchange: (event) => this.set({ [key]: event.target.checked }, true),
    });
    if (described.pictures[0].windows.length > 1) {
      c.channel = range("channel", described.pictures[0].windows.length - 1, 1, "channel or time point");
      c.channelText = element("span");
      bar.append(element("label", {}, "channel", c.channel, c.channelText));
    }
    if (described.labels.length) {
      c.shown = element("select", { title: "which mask", onchange: () => this.set({ shown: Number(c.shown.value) }, true) },
        ...described.labels.map((labels, k) => option(k, labels.name)), option(-1, "no mask"));
      c.opacity = range("opacity", 1, 0.05, "opacity of the mask");
      c.outline = check("outline", "outlines only");
      bar.append(element("label", {}, c.shown, c.opacity), element("label", {}, c.outline, "outline"));
    }
    if (described.pictures.length > 1) {
      c.blend = range("blend", 1, 0.05, "opacity of the second image");
      bar.append(element("label", {}, described.pictures[1].name, c.blend));
    }
    if (described.pictures.length > 1 || described.labels.length > 1) {
      c.beside = check("beside", "side by side");
      bar.append(element("label", {}, c.beside, "side by side"));
    }
    c.smooth = check("smooth", "interpolate between voxels");
    c.crosshair = check("crosshair", "show the crosshair");
    bar.append(element("label", {}, c.smooth, "smooth"), element("label", {}, c.crosshair, "crosshair"));
    bar.append(button("Reset", "zoom and window as at first", () => {
      for (const { nv } of this.cells) nv.scene.pan2Dxyzmm.set([0, 0, 0, 1]);
      this.set({ zoom: 1, window: this.firstWindow }, true);
      for (const { nv } of this.cells) nv.drawScene();
    }));

    this.stage = element("div", { className: "f3d-stage" });
    this.legend = element("div", { className: "f3d-legend" });
    this.foot = element("div", { className: "f3d-foot" });
    const body = element("div", { className: "f3d-body" }, this.stage);
    if (described.labels.length) body.append(this.legend);
    this.root.replaceChildren(element("div", { className: "f3d" }, bar, body, this.foot));
  }

  refreshControls() {
    const { controls: c, state } = this;
    for (const [plane, button] of Object.entries(c.planes)) button.setAttribute("aria-pressed", plane === state.plane);
    const [centre, width] = this.windows[0][state.channel];
    const same = (one) => Math.abs(one[0] - centre) + Math.abs(one[1] - width) < 1e-6 * (Math.abs(centre) + width);
    c.preset.value = Object.keys(this.described.presets).find((name) => same(this.described.presets[name])) ?? "";
    c.centre.value = Number(centre.toPrecision(5));
    c.width.value = Number(width.toPrecision(5));
    c.drag.setAttribute("aria-pressed", Boolean(this.windowing));
    for (const key of ["smooth", "crosshair", "outline", "beside"]) if (c[key]) c[key].checked = state[key];
    for (const key of ["opacity", "blend", "channel", "shown"]) if (c[key]) c[key].value = state[key];
    if (c.channelText) c.channelText.textContent = `${state.channel + 1}/${this.windows[0].length}`;
    this.refreshLegend();
    if (this.labels) this.refreshFoot();
  }

  refreshLegend() {
    const key = JSON.stringify([this.state.shown, this.state.hidden]);
    if (this.legendOf === key) return;
    this.legendOf = key;
    const labels = this.described.labels[this.state.shown];
    if (!labels) return this.legend.replaceChildren();
    const rows = labels.classes.map((one) => {
      const color = `rgb(${one.color.join(",")})`;
      const off = this.state.hidden.includes(one.label);
      const swatch = element("i", { title: off ? "show" : "hide", onclick: () => this.toggle(one.label) });
      Object.assign(swatch.style, { borderColor: color, background: off ? "none" : color });
      const name = element("a", { textContent: one.name, title: "go there", onclick: () => this.set({ position: one.position }, true) });
      return element("tr", {}, element("td", {}, swatch), element("td", {}, name), element("td", { textContent: volumeText(one.mm3) }));
    });
    this.legend.replaceChildren(element("h4", { textContent: labels.name }), element("table", {}, ...rows));
  }

  toggle(label) {
    const hidden = this.state.hidden.includes(label)
      ? this.state.hidden.filter((one) => one !== label)
      : [...this.state.hidden, label];
    this.set({ hidden }, true);
  }

  values() {
    // under the crosshair: of the pictures numbers, of the masks names
    const mm = flipped(this.state.position);
    const read = (volume, frame) => volume.getValue(...volume.mm2vox(mm), frame);
    return {
      pictures: this.pictures.map((volume, k) => read(volume, k ? 0 : this.state.channel)),
      labels: this.labels.map((volume, k) => this.described.labels[k].classes[Math.round(read(volume, 0)) - 1]?.name ?? ""),
    };
  }

  refreshFoot() {
    if (!this.state.position) return;
    const where = this.state.position.map((part, k) => {
      const letter = this.described.letters ? ` ${ENDS[k][part > 0 ? 1 : 0]}` : "";
      return `${"xyz"[k]} ${part.toFixed(1)}${letter}`;
    });
    const values = this.values();
    const texts = [`${where.join("   ")} mm`];
    this.described.pictures.forEach((one, k) => one.name && texts.push(`${one.name}: ${Number(values.pictures[k].toPrecision(6))}`));
    this.described.labels.forEach((one, k) => values.labels[k] && texts.push(`${one.name}: ${values.labels[k]}`));
    const spans = texts.map((textContent) => element("span", { textContent }));
    const notes = this.described.notes.map((textContent) => element("span", { textContent, className: "f3d-note" }));
    this.foot.replaceChildren(...spans, ...notes);
  }

  close() {
    for (const { nv } of this.cells ?? []) nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function volumeText(mm3) {
  return `${mm3 < 100 ? Number(mm3.toPrecision(3)) : Math.round(mm3).toLocaleString("en").replaceAll(",", "\u202f")} mm³`;
}

// ---- in a notebook: an anywidget

const KEYS = ["position", "window", "channel", "shown", "opacity", "outline", "plane", "zoom", "blend", "beside", "hidden"];

function ask(model, what, more = {}, timeout = 120000) {
  // the answer to a question, with its bytes: they are sent when they are wanted and kept in no notebook
  const number = `${what}-${Math.random()}`;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("Python does not answer: run the cell again")), timeout);
    const listen = (answer, buffers) => {
      if (answer?.number !== number) return;
      clearTimeout(timer);
      model.off("msg:custom", listen);
      resolve([answer, buffers]);
    };
    model.on("msg:custom", listen);
    model.send({ what, number, ...more });
  });
}

function drawsInSoftware() {
  // as a browser does without a graphics card: a large volume then takes a second for each slice
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return false;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

async function render({ model, el }) {
  const place = element("div", { className: "f3d-main", textContent: "loading …" });
  const page = element("div", { className: "f3d-page" }, place);
  page.style.height = `${model.get("height")}px`;
  el.append(page);
  let viewer = null;
  const change = (changes) => {
    for (const key of KEYS) if (key in changes) model.set(key, changes[key]);
    model.save_changes();
  };
  try {
    const [{ heads }, [packed]] = await ask(model, "engine", { packed: !globalThis.__faimed3dEngine });
    const engine = await loadEngine(packed);
    const slow = drawsInSoftware();
    const open = async (number) => {
      const ofCase = (what) => ask(model, what, { case: number, slow });
      const [{ described, state: own }, buffers] = await ofCase("case");
      const files = await Promise.all(buffers.map(unpack));
      const cell = viewer?.leave();
      viewer = null;
      if (own) {
        model.set("number", number);
        change(own);
      }
      const state = Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));
      if (!state.position?.length) state.position = null;
      if (!state.window?.length) state.window = null;
      entries.forEach((entry, k) => entry.setAttribute("aria-current", k === number));
      const surfaces = async (k) => Promise.all((await ofCase(`surfaces ${k}`))[1].map(unpack));
      viewer = new Viewer(place, engine, described, files, state, change, surfaces, cell);
      el.faimed3d = viewer;
      await viewer.ready;
    };
    let turn = null; // one after the other: the next one takes the canvas of the one before
    const entries = heads.map((head, k) => element("div", { innerHTML: head, onclick: () => (turn = turn.catch(() => {}).then(() => open(k))) }));
    if (heads.length) page.prepend(element("div", { className: "f3d-list" }, ...entries));
    turn = open(0);
    await turn;
    for (const key of KEYS) {
      model.on(`change:${key}`, () => {
        const value = model.get(key);
        if (viewer && JSON.stringify(value) !== JSON.stringify(viewer.state[key])) viewer.set({ [key]: value });
      });
    }
    return () => viewer?.close();
  } catch (error) {
    place.replaceChildren(element("div", { className: "f3d-error", textContent: `${error}` }));
  }
}

export default { render };

// ---- in a saved page

export async function openPage() {
  const pick = (id) => document.getElementById(id);
  const cases = JSON.parse(pick("f3d-cases").textContent);
  const bytes = (id) => unpack(fromBase64(pick(id).textContent.trim()));
  const place = pick("f3d-main");
  let engine;
  let viewer;
  const open = async (number) => {
    engine ??= await loadEngine(fromBase64(pick("f3d-engine").textContent.trim()));
    const cell = viewer?.leave();
    const one = cases[number];
    pick("f3d-list")?.querySelectorAll("[data-case]").forEach((entry) => entry.setAttribute("aria-current", entry.dataset.case === `${number}`));
    const files = await Promise.all(one.files.map(bytes));
    const surfaces = (k) => Promise.all(one.described.labels[k].surfaces.map(bytes));
    viewer = new Viewer(place, engine, one.described, files, one.state, null, surfaces, cell);
    globalThis.faimed3d = { viewer, open, count: cases.length };
    return viewer.ready;
  };
  pick("f3d-list")?.addEventListener("click", (event) => {
    const entry = event.target.closest("[data-case]");
    if (entry) open(Number(entry.dataset.case));
  });
  globalThis.faimed3dReady = open(0).catch((error) => {
    if (!viewer) place.textContent = `${error}`;
    throw error;
  });
}
