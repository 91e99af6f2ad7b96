// usage: node validate.js FOLDER FILE…    FOLDER has node_modules; prints one JSON line for each file
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const [folder, ...files] = process.argv.slice(2);
const validator = createRequire(join(folder, "package.json"))("gltf-validator");

(async () => {
  for (const file of files) {
    // with a limit it stops early and tells fewer errors than there are
    const report = await validator.validateBytes(new Uint8Array(readFileSync(file)), { uri: file, maxIssues: 0 });
    console.log(JSON.stringify({ file, ...report.issues }));
  }
})();
