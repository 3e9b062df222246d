// Starts the cluster and, called again when the job ends, removes it.

const { spawnSync } = require("node:child_process");
const { appendFileSync } = require("node:fs");
const { join } = require("node:path");

const INPUTS = ["ARTIFACT", "NAME", "NODES", "CONFIG", "STORE", "STATUS"];
const kubeconfig = join(process.env.RUNNER_TEMP, `parbake-${process.env.INPUT_NAME}.kubeconfig`);

function cluster(command) {
  const inputs = INPUTS.map((name) => [name, process.env[`INPUT_${name}`] ?? ""]);
  const env = { ...process.env, ...Object.fromEntries(inputs), KUBECONFIG: kubeconfig };
  const script = join(__dirname, "..", "cluster.sh");
  process.exitCode = spawnSync("bash", [script, command], { env, stdio: "inherit" }).status ?? 1;
}

if (process.env.STATE_started) {
  console.log("::group::parbake: remove the cluster");
  cluster("down");
  console.log("::endgroup::");
} else {
  // First, so that the cluster is removed even if this process is killed.
  appendFileSync(process.env.GITHUB_STATE, "started=true\n");
  cluster("up");
  if (process.exitCode === 0) {
    appendFileSync(process.env.GITHUB_OUTPUT, `kubeconfig=${kubeconfig}\n`);
    appendFileSync(process.env.GITHUB_ENV, `KUBECONFIG=${kubeconfig}\n`);
  }
}
