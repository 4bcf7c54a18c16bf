import { join } from 'node:path';
import { systemClock, timestamp } from '../../clock.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { shown } from '../../config/given.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import type { Host, Subcommand } from '../../host.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import { trustDomainOf } from '../authority.ts';
import { trustedRoots } from '../root-set.ts';
import { readStateDirectory } from '../state-directory.ts';
import { tableOf } from '../text-table.ts';
import type { Note, RevocationList } from './list.ts';
import { documentOf, emptyList, isReason, normalSerial, reasonExpectation, serialExpectation } from './list.ts';
import { changeRevocationFile, readRevocationFile, revocationsFileName } from './list-file.ts';

interface RevokeFlags {
  readonly serial?: string;
  readonly identity?: string;
  readonly reason?: string;
  readonly lift?: true;
  readonly list?: true;
  readonly json?: true;
  readonly federated?: true;
  readonly stateDir?: string;
  readonly file?: string;
}

/** What one run revokes or lifts: a key of one of the two lists. */
interface Subject {
  readonly list: 'certificates' | 'identities';
  readonly key: string;
  /** An identity that this control plane never issues for. */
  readonly isForeign: boolean;
}

/** Where the list is. */
interface Place {
  readonly path: string;
  readonly mode: number;
  /** Undefined where only the control plane knows it. */
  readonly trustDomain: string | undefined;
  readonly rootSerials: readonly (string | undefined)[];
}

/** `remora control-plane revoke`: changes or shows what an operator has revoked; a control plane need not run. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<RevokeFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const flags = parsed.options;
  const problem = contradiction(flags);
  if (problem !== undefined) throw new UsageError(problem);
  const place = await placeOf(flags);
  if (flags.list === true) await show(host, place, flags);
  else await change(host, place, flags);
  return exitCodes.ok;
};

function contradiction({ serial, identity, reason, lift, list, json, federated, stateDir, file }: RevokeFlags) {
  if ((stateDir === undefined) === (file === undefined))
    return 'Expected one of --state-dir and --file: the state directory of the control plane, or the file that it is given';
  const subjects = [serial, identity, list].filter((one) => one !== undefined);
  if (subjects.length !== 1) return 'Expected one of --serial, --identity and --list';
  if (list === true && (lift === true || reason !== undefined)) return '--list takes neither --lift nor --reason';
  if (json === true && list !== true) return '--json is only for --list';
  if (lift === true && reason !== undefined) return '--lift takes no --reason: nothing stays that it could be noted at';
  if (federated === true && identity === undefined) return '--federated is only for --identity';
  return undefined;
}

async function placeOf({ stateDir, file = '' }: RevokeFlags): Promise<Place> {
  if (stateDir === undefined) return { path: file, mode: 0o644, trustDomain: undefined, rootSerials: [] };
  const keys = await readStateDirectory(stateDir);
  return {
    path: join(stateDir, revocationsFileName),
    mode: 0o600,
    trustDomain: trustDomainOf(keys.root.certificate),
    rootSerials: trustedRoots(keys).map(({ serialNumber }) => normalSerial(serialNumber)),
  };
}

async function show({ stdout }: Host, { path }: Place, { json }: RevokeFlags): Promise<void> {
  const list = (await readRevocationFile(path)) ?? emptyList;
  if (json === true) stdout.write(`${JSON.stringify(documentOf(list))}\n`);
  else stdout.write(`${listText(list) ?? `Nothing is revoked in ${path}`}\n`);
}

/** Undefined when it is empty. */
function listText({ certificates, identities }: RevocationList): string | undefined {
  const rows = (what: string, notes: ReadonlyMap<string, Note>) =>
    [...notes].map(([key, { when, reason = '-' }]) => [what, key, when, reason]);
  const all = [...rows('certificate', certificates), ...rows('identity', identities)];
  if (all.length === 0) return undefined;
  return tableOf([['what', 'serial or SPIFFE ID', 'revoked at', 'reason'], ...all]).join('\n');
}

async function change({ stdout }: Host, place: Place, flags: RevokeFlags): Promise<void> {
  const { reason, lift } = flags;
  if (reason !== undefined && !isReason(reason))
    throw new UsageError(`--reason=${shown(reason)} is not usable, expected ${reasonExpectation}`);
  const subject = subjectOf(flags, place);
  const note: Note = { when: timestamp(systemClock.now()), ...(reason !== undefined && { reason }) };
  let known: Note | undefined;
  await changeRevocationFile(systemClock, place.path, place.mode, (list) => {
    known = list[subject.list].get(subject.key);
    if ((known !== undefined) === (lift !== true)) return undefined;
    return changed(list, subject, lift === true ? undefined : note);
  });
  const isChanged = (known === undefined) !== (lift === true);
  const lines = lift === true ? liftedWords(subject, place, known) : revokedWords(subject, place, known);
  stdout.write(`${[...lines, ...(isChanged ? nextStep(flags) : [])].join('\n')}\n`);
}

function subjectOf(
  { serial, identity = '', federated, lift }: RevokeFlags,
  { trustDomain, rootSerials }: Place,
): Subject {
  if (serial !== undefined) {
    const key = normalSerial(serial);
    if (key !== undefined && lift !== true && rootSerials.includes(key))
      throw new UsageError(
        `--serial=${shown(serial)} is that of a root, which is trusted as long as it is in a trust bundle; remora control-plane rotate-root takes it out`,
      );
    if (key !== undefined) return { list: 'certificates', key, isForeign: false };
    throw new UsageError(`--serial=${shown(serial)} is not a serial, expected ${serialExpectation}`);
  }
  const parsed = parseSpiffeId(identity);
  if (parsed.kind === 'invalid')
    throw new UsageError(
      `--identity=${shown(identity)} is not a SPIFFE ID (${parsed.why}), expected one such as spiffe://cluster.local/ns/shop/sa/web`,
    );
  if (trustDomain !== undefined && parsed.id.trustDomain !== trustDomain && federated !== true)
    throw new UsageError(
      `--identity=${shown(identity)} is of the trust domain ${parsed.id.trustDomain}, expected ${trustDomain}; --federated revokes one of another mesh`,
    );
  return { list: 'identities', key: identity, isForeign: federated === true && parsed.id.trustDomain !== trustDomain };
}

/** `note` undefined takes it out. */
function changed(list: RevocationList, { list: name, key }: Subject, note: Note | undefined): RevocationList {
  const entries = new Map(list[name]);
  if (note === undefined) entries.delete(key);
  else entries.set(key, note);
  return { ...list, [name]: entries };
}

const nouns = { certificates: 'The certificate', identities: 'The identity' } as const;

function revokedWords({ list, key, isForeign }: Subject, { path }: Place, known: Note | undefined): string[] {
  const head =
    known === undefined
      ? `${nouns[list]} ${key} is revoked in ${path}.`
      : `${nouns[list]} ${key} was revoked in ${path} at ${known.when} already; nothing is changed.`;
  return list === 'certificates'
    ? [
        head,
        'Every sidecar that the control plane reaches refuses it, and every certificate below it, and closes what is open.',
        'That keeps nobody from a new certificate; revoke the identity as well to keep a workload out.',
      ]
    : [
        head,
        'Every sidecar that the control plane reaches refuses all of its certificates and closes what is open.',
        ...(isForeign
          ? []
          : ['A control plane of its trust domain issues no certificate for it until this is lifted.']),
      ];
}

function liftedWords({ list, key, isForeign }: Subject, { path }: Place, known: Note | undefined): string[] {
  const noun = `${nouns[list]} ${key}`;
  if (known === undefined) return [`${noun} is not revoked in ${path}; nothing is changed.`];
  const again =
    list === 'certificates'
      ? ['Sidecars accept it again, for as long as it is valid.']
      : [
          'Sidecars accept its certificates again.',
          ...(isForeign ? [] : ['A control plane of its trust domain issues certificates for it again.']),
        ];
  return [`${noun} is no longer revoked in ${path}.`, ...again];
}

function nextStep({ file }: RevokeFlags): string[] {
  if (file === undefined) return ['A control plane that runs takes it within seconds; another one when it starts.'];
  return [
    'A control plane that reads this file takes it within seconds. One that reads a ConfigMap takes that within minutes; replace it now:',
    `  kubectl create configmap remora-revocations --namespace remora-system --from-file=${revocationsFileName}=${file} \\`,
    '    --dry-run=client --output yaml | kubectl apply --server-side --filename -',
  ];
}

function commandLine() {
  return createCommand(
    'control-plane revoke',
    'Revokes a certificate or an identity, shows what is revoked, or lifts it',
  )
    .option('--serial <hex>', 'the certificate with this serial')
    .option('--identity <spiffe-id>', 'every certificate for this identity, and no new one is issued')
    .option('--reason <text>', 'noted beside it')
    .option('--lift', 'take it back')
    .option('--list', 'show what is revoked')
    .option('--json', 'with --list: print JSON')
    .option('--federated', 'the identity is of another trust domain')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--file <file>', 'file that the control plane is given with --revocations; made when it is not there');
}
