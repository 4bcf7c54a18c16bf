import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, FailureError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import { printableJson } from '../../printable.ts';
import { adminSocketOf, callAdmin } from '../admin-client.ts';
import type { MeshStatus } from './status.ts';
import { maxMeshReplyBytes, meshPaths, meshStatus } from './status.ts';
import { edgesText, meshText, podText } from './text.ts';

interface Options {
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly edges?: true;
  readonly json?: true;
}

/**
 * `remora mesh`: every sidecar that a control plane knows to be alive, as it reported itself. Exits with 0; with 1 when it
 * knows no such pod, and with 69 when no control plane answers.
 */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<Options>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { edges, json, ...place } = parsed.options;
  const mesh = await callAdmin(adminSocketOf(place), meshPaths.sidecars, meshStatus, undefined, maxMeshReplyBytes);
  const [name] = parsed.arguments;
  const shown = name === undefined ? mesh : onlyOf(mesh, name);
  const lines = edges ? edgesText(shown) : name === undefined ? meshText(shown) : podText(shown);
  host.stdout.write(json ? `${printableJson(shown, 2)}\n` : `${lines.join('\n')}\n`);
  return exitCodes.ok;
};

/** A pod by its name, or all of a namespace. */
function onlyOf(mesh: MeshStatus, name: string): MeshStatus {
  const sidecars = mesh.sidecars.filter(({ pod }) => pod === name || pod.startsWith(`${name}/`));
  if (sidecars.length === 0)
    throw new FailureError(`The control plane knows no sidecar of ${name}, expected a namespace or namespace/pod`);
  return { ...mesh, sidecars };
}

function commandLine() {
  return createCommand('mesh', 'Lists the sidecars of a mesh as they report themselves to the control plane')
    .argument('[pod]', 'one pod, namespace/name, with everything that it reports; or a namespace')
    .option('--edges', 'who was connected with whom')
    .option('--json', 'print JSON')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--admin-socket <path>', 'its admin socket, where that is not in the state directory');
}
