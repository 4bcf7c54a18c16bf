import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FailureError } from '../../errors.ts';
import type { ToolResult } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';
import type { Crew } from './crew.ts';
import type { Folder } from './folder.ts';
import type { MeshParts } from './mesh.ts';
import { certificateLifetime, meshNamespace, trustDomain } from './mesh.ts';
import type { Program } from './program.ts';

/** Starts processes where a pod is. */
export interface Place {
  /** Starts this program, `remora`, with these arguments. */
  remora(args: readonly string[]): ChildProcess;
  /** Starts one of the applications, with these arguments. */
  application(script: 'server' | 'client', args: readonly string[]): ChildProcess;
}

/** A control plane that serves, as its sidecars see it. */
export interface ControlPlaneSite {
  readonly url: string;
  /** What its sidecars trust, PEM. */
  readonly rootFile: string;
  readonly stateDirectory: string;
}

export interface ControlPlanePlan {
  readonly place: Place;
  readonly folder: Folder;
  /** `ip:port` of both listeners. */
  readonly listen: string;
  readonly metricsListen: string;
  readonly servingName: string;
  /** The user that it runs as. */
  readonly uid: number;
}

const stateFolder = 'control-plane';

/** Where the control plane of the demo keeps its state, and is asked for what it knows. */
export function stateDirectoryIn({ path }: Pick<Folder, 'path'>): string {
  return join(path, stateFolder);
}

/** Starts the control plane and resolves when it serves. */
export async function startControlPlane(crew: Crew, plan: ControlPlanePlan): Promise<ControlPlaneSite> {
  const { place, folder, uid, listen, metricsListen, servingName } = plan;
  const stateDirectory = await folder.makeFolder(stateFolder, uid);
  const ownRootFile = join(stateDirectory, 'root.pem');
  const child = place.remora([
    'control-plane',
    ...['--state-dir', stateDirectory],
    ...['--registry', folder.registry],
    ...['--trust-domain', trustDomain],
    ...['--certificate-lifetime', certificateLifetime],
    ...['--listen', listen],
    ...['--metrics-listen', metricsListen],
    ...['--serving-name', servingName],
    ...['--write-root', ownRootFile],
  ]);
  await crew.follow('The control plane', child).line((line) => line.includes('"Control plane ready"'));
  // Given to the pods as a cluster would: what the umask made of the control plane's own file is not for them.
  const rootFile = await folder.writePublic('root.pem', await readFile(ownRootFile, 'utf8'));
  return { url: `https://${listen}`, rootFile, stateDirectory };
}

/** The settings of a sidecar that every surroundings share. */
export function sidecarArgs(name: string, site: ControlPlaneSite, tokenFile: string): string[] {
  return [
    'agent',
    ...['--trust-domain', trustDomain],
    ...['--workload-name', name],
    ...['--workload-namespace', meshNamespace],
    ...['--pod-name', name],
    ...['--control-plane', site.url],
    ...['--control-plane-ca-file', site.rootFile],
    ...['--token-file', tokenFile],
    ...['--certificate-lifetime', certificateLifetime],
    ...['--drain-delay', '0s'],
    ...['--drain-deadline', '2s'],
  ];
}

/** Puts a token where a sidecar of this user reads it; the service account has the name of the pod. Resolves with its path. */
export async function writeToken(
  name: string,
  { stateDirectory }: ControlPlaneSite,
  { folder, env, program }: Pick<MeshParts, 'folder' | 'env' | 'program'>,
  uid: number,
): Promise<string> {
  const [command, ...args] = program;
  const result = await runTool(
    command,
    [
      ...args,
      'token',
      ...['--state-dir', stateDirectory],
      ...['--namespace', meshNamespace],
      ...['--service-account', name],
      ...['--pod', name],
    ],
    { env },
  );
  return folder.writeSecret(`${name}-token`, outputOf(`remora token for ${name}`, result), uid);
}

/** The output of a command that must succeed. */
export function outputOf(what: string, result: ToolResult): string {
  if (result.kind === 'ended' && result.status === 0) return result.stdout;
  const why = result.kind === 'missing' ? 'it cannot be started' : (result.stderr || result.stdout).trim();
  throw new FailureError(`${what} failed: ${why}`);
}

/** Starts the server application and resolves when it listens. */
export async function startServer(crew: Crew, place: Place, args: readonly string[]): Promise<Program> {
  const program = crew.follow('The application api', place.application('server', args));
  await program.line((line) => line.includes('"listening":true'));
  return program;
}

/** Where the script of an application lies in this checkout. */
export function applicationPath(script: 'server' | 'client'): string {
  return `${import.meta.dirname}/apps/${script}.ts`;
}
