import { appended, createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import { isTrustDomain } from '../../identity/spiffe-id.ts';
import { printable } from '../../printable.ts';
import { isDnsLabel } from '../names.ts';
import { pathText } from '../policy/finding.ts';
import { defaultRootNamespace } from '../policy/not-in-force.ts';
import { defaultTrustDomain } from '../policy/own-domain.ts';
import { duplicates, withoutEffect } from '../store/files.ts';
import type { FileNote } from '../store/note.ts';
import { noteText } from '../store/note.ts';
import { notesOf, readInputs } from './inputs.ts';

interface ValidateFlags {
  readonly json?: true;
  readonly rootNamespace: string;
  readonly trustDomain?: readonly string[];
}

/** `remora validate`: what the control plane would make of objects, and what is wrong with them, each with its place. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<ValidateFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  if (parsed.arguments.length === 0)
    throw new UsageError('Expected at least one file, directory, or - for standard input');
  const { json, rootNamespace, trustDomain: trustDomains = [defaultTrustDomain] } = parsed.options;
  if (!isDnsLabel(rootNamespace))
    throw new UsageError(
      `--root-namespace is '${printable(rootNamespace, 80)}', expected the name of a namespace such as istio-system`,
    );
  const wrong = trustDomains.find((one) => !isTrustDomain(one));
  if (wrong !== undefined)
    throw new UsageError(`--trust-domain is '${printable(wrong, 80)}', expected a trust domain such as cluster.local`);
  const { texts, notes: unread } = await readInputs(parsed.arguments, host.stdin);
  const notes = [
    ...unread,
    ...notesOf(texts),
    ...duplicates(texts),
    ...withoutEffect(texts, { rootNamespace, trustDomains }),
  ];
  const objects = texts.reduce((sum, { read }) => sum + read.objects.length, 0);
  const problems = notes.filter(({ severity }) => severity === 'problem').length;
  const counts = { files: texts.length, objects, problems, warnings: notes.length - problems };
  host.stdout.write(json ? `${JSON.stringify({ ...counts, notes: notes.map(shownNote) })}\n` : linesOf(notes));
  if (!json) host.stderr.write(`${summary(counts)}\n`);
  return problems > 0 ? exitCodes.failure : exitCodes.ok;
};

function shownNote({ severity, file, position, kind, name, path, why }: FileNote) {
  return { severity, file, ...position, kind, name, path: path.length === 0 ? '' : pathText(path), why };
}

function linesOf(notes: readonly FileNote[]): string {
  return notes.map((note) => `${noteText(note)}${note.severity === 'warning' ? ' (warning)' : ''}\n`).join('');
}

type Counts = Readonly<Record<'files' | 'objects' | 'problems' | 'warnings', number>>;

function summary({ files, objects, problems, warnings }: Counts): string {
  const found = `${counted(problems, 'problem')} and ${counted(warnings, 'warning')}`;
  return `${found} in ${counted(objects, 'object')} of ${counted(files, 'file')}`;
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

const notice = `
Checks every object of every kind that the control plane reads: syntax, fields, values, and names that stand there twice. A
field that is not supported is named with its line and column, and one with a slip with the field that was meant.

Exit code 0 with nothing but warnings, 1 with a problem (a file that cannot be read is one), 2 for a wrong command line.`;

function commandLine() {
  return createCommand('validate', "Checks Istio's policy and the other objects of a registry")
    .argument('[files...]', 'files, directories, or - for standard input')
    .option('--root-namespace <name>', 'namespace whose policies hold for the whole mesh', defaultRootNamespace)
    .option(
      '--trust-domain <name>',
      `whose principals there are, the mesh's own or a federated one; may be repeated (default: "${defaultTrustDomain}")`,
      appended,
    )
    .option('--json', 'one JSON object instead of lines')
    .addHelpText('after', notice);
}
