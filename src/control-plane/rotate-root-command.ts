import type { Clock } from '../clock.ts';
import { systemClock } from '../clock.ts';
import { createCommand, parseCommandLine } from '../command-line.ts';
import { parseDuration } from '../durations.ts';
import { exitCodes, FailureError, UsageError } from '../errors.ts';
import type { Host, Subcommand } from '../host.ts';
import { adminSocketOf, callAdmin } from './admin-client.ts';
import type { RotationStep } from './rotation-rules.ts';
import { rotationSteps } from './rotation-rules.ts';
import type { RotationStatus, StepReply } from './rotation-status.ts';
import { rotationPaths, rotationStatus, stepReply } from './rotation-status.ts';
import { doneText, refusalText, statusText } from './rotation-words.ts';

interface RotateRootFlags {
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly force?: true;
  readonly json?: true;
  readonly wait?: string;
}

const pollIntervalMs = 1_000;
const longestWaitMs = 7 * 86_400_000;

/** `remora control-plane rotate-root`: shows the roots of a control plane that runs, and takes the steps of a rotation. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<RotateRootFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { force = false, json = false, wait, ...place } = parsed.options;
  const step = stepOf(parsed.arguments[0] ?? 'status');
  const socket = adminSocketOf(place);
  if (step === undefined && (force || wait !== undefined))
    throw new UsageError('--force and --wait are for the steps, expected them with add, switch, remove or abort');
  if (force && wait !== undefined)
    throw new UsageError('Expected one of --force and --wait: what is forced does not wait');
  const deadlineMs = systemClock.monotonic() + (wait === undefined ? 0 : waitMsOf(wait));
  if (step === undefined) return show(host, json, await callAdmin(socket, rotationPaths.status, rotationStatus));
  const reply = await takeStep({ socket, step, force, deadlineMs }, systemClock);
  return answer(host, { json, force, hasWaited: wait !== undefined }, step, reply);
};

interface Wanted {
  readonly socket: string;
  readonly step: RotationStep;
  readonly force: boolean;
  /** Until when a step that is refused is tried again, and what comes after `add` is waited for; monotonic. */
  readonly deadlineMs: number;
}

async function takeStep({ socket, step, force, deadlineMs }: Wanted, clock: Clock): Promise<StepReply> {
  const isLate = () => clock.monotonic() >= deadlineMs;
  let reply = await callAdmin(socket, rotationPaths.step, stepReply, { step, force });
  while (reply.kind === 'refused' && !isLate()) {
    await clock.sleep(pollIntervalMs);
    reply = await callAdmin(socket, rotationPaths.step, stepReply, { step, force });
  }
  if (reply.kind !== 'done' || step !== 'add') return reply;
  let { status } = reply;
  while (status.next.step === 'switch' && status.next.obstacles.length > 0 && !isLate()) {
    await clock.sleep(pollIntervalMs);
    status = await callAdmin(socket, rotationPaths.status, rotationStatus);
  }
  return { ...reply, status };
}

interface Manner {
  readonly json: boolean;
  readonly force: boolean;
  readonly hasWaited: boolean;
}

function answer(host: Host, { json, force, hasWaited }: Manner, step: RotationStep, reply: StepReply): number {
  const isTaken = reply.kind === 'done' || reply.kind === 'by-hand';
  const isAddAwaited = step === 'add' && hasWaited && isTaken;
  const isAwaited = !isAddAwaited || isTrusted(reply.status);
  if (json) host.stdout.write(`${JSON.stringify(force && isTaken ? { ...reply, forced: true } : reply)}\n`);
  else if (isAddAwaited && reply.kind === 'done' && reply.status.next.step === 'add')
    throw new FailureError('The next root was taken back meanwhile');
  else if (isTaken) host.stdout.write(doneText(step, reply));
  else throw new FailureError(refusalText(step, reply));
  return isTaken && isAwaited ? exitCodes.ok : exitCodes.failure;
}

/** What whoever waits after `add` wants to know. Meanwhile somebody else may have gone on, or taken it back. */
function isTrusted({ next }: RotationStatus): boolean {
  return next.step === 'remove' || (next.step === 'switch' && next.obstacles.length === 0);
}

function show(host: Host, json: boolean, status: RotationStatus): number {
  host.stdout.write(json ? `${JSON.stringify(status)}\n` : statusText(status));
  return exitCodes.ok;
}

/** Undefined for `status`. */
function stepOf(text: string): RotationStep | undefined {
  const step = rotationSteps.find((one) => one === text);
  if (step === undefined && text !== 'status')
    throw new UsageError(`'${text}' is no step, expected status, ${rotationSteps.join(', ')}`);
  return step;
}

function waitMsOf(text: string): number {
  const durationMs = parseDuration(text);
  if (durationMs === undefined || durationMs > longestWaitMs)
    throw new UsageError(`--wait is '${text}', expected a duration such as 5m, at most 7d`);
  return durationMs;
}

function commandLine() {
  return createCommand('control-plane rotate-root', 'Replaces the root of a mesh, step by step, while it runs')
    .argument('[step]', 'status, add, switch, remove, abort', 'status')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--admin-socket <path>', 'its admin socket, where that is not in the state directory')
    .option('--force', 'take the step although it breaks those whom the refusal, or status, lists')
    .option('--wait <duration>', 'wait so long until the step is not refused; after add until switch would not be')
    .option('--json', 'print JSON')
    .addHelpText('after', examples);
}

const examples = `
add publishes another root, switch issues from it, remove ends the trust in the old one. Each is refused while it would break
a sidecar. abort takes add back.

  remora control-plane rotate-root add --state-dir /var/lib/remora --wait 10m
  remora control-plane rotate-root switch --state-dir /var/lib/remora
  remora control-plane rotate-root remove --state-dir /var/lib/remora --wait 3h`;
