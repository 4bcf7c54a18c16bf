import { readFile, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, FailureError, UsageError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import { printable, printableJson } from '../../printable.ts';
import { adminSocketOf, callAdmin } from '../admin-client.ts';
import { duplicates } from '../store/files.ts';
import type { FileNote } from '../store/note.ts';
import { noteText } from '../store/note.ts';
import { notesOf, readInputs } from '../validate/inputs.ts';
import { maxPreviewedBytes, maxPreviewReplyBytes, policyPreview, previewPaths, previewTimeoutMs } from './api.ts';
import { policyChangeOf } from './policy-change.ts';
import { isBreaking, policyPreviewText } from './policy-text.ts';

interface Options {
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly json?: true;
}

/**
 * `remora policy preview FILE`, `-` for standard input: what a file of policy would change for those who have called, before it is
 * applied. Problems of the file come first, on standard error. Exits with 0 when nobody loses anything, with 1 when somebody would
 * be refused, it is not known, or the file cannot be read, and with 69 when no control plane answers.
 */
export const run: Subcommand = async (host) => {
  const [word = '', ...args] = host.args;
  const isHelp = ['', '--help', '-h'].includes(word);
  if (word !== 'preview' && !isHelp)
    throw new UsageError(`policy has no command '${printable(word, 40)}', expected preview`);
  const parsed = parseCommandLine<Options>(commandLine(), { ...host, args: isHelp ? ['--help'] : args });
  if (parsed.kind === 'done') return parsed.exitCode;
  const { json, ...place } = parsed.options;
  const socket = adminSocketOf(place);
  const [file = ''] = parsed.arguments;
  const name = file === '-' ? 'Standard input' : printable(file);
  const given = await givenText(file, host.stdin);
  const { texts, notes: unread } = await readInputs([file], Readable.from(given === undefined ? [] : [given]));
  const repeated = duplicates(texts);
  for (const note of [...unread, ...notesOf(texts), ...repeated]) host.stderr.write(`${lineOf(note)}\n`);
  const { objects = [], broken = [] } = texts[0]?.read ?? {};
  if (broken.length + repeated.length > 0 || texts.length !== 1)
    throw new FailureError(`${name} cannot be previewed, expected one file without the problems above`);
  const change = policyChangeOf(objects.map(({ entry }) => entry));
  if (change.authorizationPolicies.length + change.peerAuthentications.length === 0)
    throw new FailureError(`${name} holds neither an AuthorizationPolicy nor a PeerAuthentication`);
  const body = { text: given?.toString() ?? (await readFile(file, 'utf8')) };
  const preview = await callAdmin(
    socket,
    previewPaths.policy,
    policyPreview,
    body,
    maxPreviewReplyBytes,
    previewTimeoutMs,
  );
  host.stdout.write(`${json ? printableJson(preview, 2) : policyPreviewText(preview).join('\n')}\n`);
  return isBreaking(preview) ? exitCodes.failure : exitCodes.ok;
};

/** What came on standard input, which is read once; undefined for a file. Throws for a directory. */
async function givenText(file: string, stdin: Readable): Promise<Buffer | undefined> {
  if (file !== '-') {
    const found = await stat(file).catch(() => undefined);
    if (found?.isDirectory())
      throw new FailureError(`${printable(file)} is a directory, expected one file, or - for standard input`);
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxPreviewedBytes)
      throw new FailureError(`Standard input is more than ${maxPreviewedBytes} bytes, expected at most so many`);
  }
  return Buffer.concat(chunks);
}

function lineOf(note: FileNote): string {
  return printable(`${noteText(note)}${note.severity === 'warning' ? ' (warning)' : ''}`, 1000);
}

function commandLine() {
  return createCommand('policy preview', 'Show what a file of policy would change for those who have called')
    .argument(
      '<file>',
      'AuthorizationPolicies and PeerAuthentications that are not applied yet, YAML or JSON, or - for standard input',
    )
    .option('--json', 'print JSON')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--admin-socket <path>', 'its admin socket, where that is not in the state directory');
}
