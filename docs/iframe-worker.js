// Browsers start no workers for pages that were opened as files. The search is one: here it runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.inside.postMessage = (data) => this.#emit(this, data);
      this.inside.importScripts = (...urls) => Promise.all(urls.map((each) => this.#load(each)));
      this.loaded = this.#load(url);
    }

    postMessage(data) {
      this.loaded.then(() => this.#emit(this.inside, data));
    }

    terminate() {
      this.inside.frameElement.remove();
    }

    #emit(target, data) {
      target.dispatchEvent(new MessageEvent("message", { data }));
    }

    #load(url) {
      return new Promise((resolve, reject) => {
        const script = this.inside.document.createElement("script");
        script.onload = resolve;
        script.onerror = reject;
        script.src = new URL(url, location.href).href;
        this.inside.document.body.append(script);
      });
    }
  };
}
