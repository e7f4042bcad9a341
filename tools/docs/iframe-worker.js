// Browsers refuse workers in pages that are opened as files. There the search runs in a hidden frame instead, which
// exchanges messages with the page as a worker does. It is for English alone, whose search loads no further script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = `<script src="${new URL(url, location.href).href}"></script>`;
      this.ready = new Promise((done) => this.frame.addEventListener("load", done)).then(() => {
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        return inside;
      });
      document.body.append(this.frame);
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
