// Says what is missing in a browser that is too old for the page; runs before anything that needs more.
"use strict";
(function () {
  const missing = [];
  if (!("DecompressionStream" in window)) missing.push("DecompressionStream");
  if (!("supports" in HTMLScriptElement && HTMLScriptElement.supports("importmap"))) missing.push("import maps");
  if (!("showModal" in HTMLElement.prototype || "HTMLDialogElement" in window)) missing.push("dialogs");
  if (missing.length) {
    document.documentElement.dataset.missing = missing.join(", ");
    document.getElementById("notice").textContent =
      "This browser is too old to unpack the records: it lacks " +
      missing.join(", ") +
      ". Chrome or Edge 123, Firefox 120, Safari 17.5 and newer show this page; leaderboard.md beside it has the tables.";
  }
})();
