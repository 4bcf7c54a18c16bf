import { systemClock } from '../clock.ts';
import { createCommand, parseCommandLine } from '../command-line.ts';
import { exitCodes, UsageError } from '../errors.ts';
import type { Host, Subcommand } from '../host.ts';
import type { Log } from '../log.ts';
import { createLog } from '../log.ts';
import type { Applied, ApplyTools } from './apply.ts';
import { applyRedirect, removeRedirect } from './apply.ts';
import { runInNamespace } from './namespace.ts';
import { createNft } from './nft.ts';
import type { Proofs } from './proof.ts';
import type { RedirectSettings } from './rules.ts';
import { redirectTable } from './rules.ts';
import { renderRuleset } from './ruleset.ts';
import { readSettings, settingFlags, settingReader } from './settings.ts';

interface Flags extends Record<string, string | boolean | undefined> {
  readonly dryRun?: true;
  readonly cleanup?: true;
  readonly skipProof?: true;
  readonly acceptOtherRedirects?: true;
  readonly netns?: string;
}

/** `remora init`: writes the redirect rules of this pod, proves that they capture, and says so in one log line. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<Flags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const flags = parsed.options;
  if (flags.dryRun && flags.cleanup)
    throw new UsageError('--dry-run and --cleanup are both given, expected one of them');
  const settings = readSettings(settingReader(settingsOf(flags), host.env));
  // The innermost of several --netns counts, and an empty one is the namespace that this process is in.
  if (flags.netns) return runInNamespace(flags.netns, [...host.args, '--netns='], host);
  if (flags.dryRun) host.stdout.write(renderRuleset(redirectTable(settings)).text);
  else await change(settings, flags, host);
  return exitCodes.ok;
};

function commandLine() {
  const command = createCommand('init', 'Writes the redirect rules of this pod, proves that they capture, exits');
  for (const { flag, placeholder, does } of settingFlags) command.option(`--${flag} <${placeholder}>`, does);
  return command
    .option('--netns <name|path>', 'work in this network namespace instead of the own one')
    .option('--dry-run', 'print the rules for nft and change nothing')
    .option('--cleanup', 'remove the rules; open connections that were captured are reset')
    .option('--skip-proof', 'apply the rules without trying them, beside a running sidecar')
    .option(
      '--accept-other-redirects',
      'work beside redirects in other tables, which see only what these rules leave alone',
    )
    .addHelpText(
      'after',
      '\nEach option with a value is also read from REMORA_<OPTION>, such as REMORA_EXCLUDE_OUTBOUND_PORTS.',
    );
}

/** Commander writes `--exclude-outbound-ports` as `excludeOutboundPorts`. */
function settingsOf(flags: Flags): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { flag } of settingFlags) {
    const text = flags[flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if (typeof text === 'string') texts[flag] = text;
  }
  return texts;
}

async function change(settings: RedirectSettings, flags: Flags, host: Host): Promise<void> {
  const log = createLog('info', host.stdout);
  const tools: ApplyTools = { nft: createNft(host.env), env: host.env, clock: systemClock };
  if (flags.cleanup) {
    const isRemoved = await removeRedirect(tools);
    log.info(
      { outcome: isRemoved ? 'removed' : 'absent' },
      isRemoved ? 'Removed the redirect rules' : 'There were no redirect rules to remove',
    );
    return;
  }
  const options = { isProofWanted: !flags.skipProof, areOtherRedirectsAccepted: flags.acceptOtherRedirects === true };
  report(await applyRedirect(settings, options, tools), settings, log);
}

function report({ outcome, hash, proofs, deliveryAddress }: Applied, { ports }: RedirectSettings, log: Log): void {
  if (deliveryAddress.kind === 'failed') {
    log.warn(
      { why: deliveryAddress.why },
      'Could not add ::6 to loopback; IPv6 is delivered from the address of the pod',
    );
  }
  const fields = {
    outcome,
    hash,
    ...(proofs && { ipv4: proofs.ipv4.kind, ipv6: proofs.ipv6.kind }),
    deliveryAddress: deliveryAddress.kind,
  };
  const did = {
    applied: 'Applied the redirect rules',
    replaced: 'Replaced the redirect rules',
    unchanged: 'The redirect rules were already in place',
  };
  log.info(
    fields,
    `${did[outcome]}: outbound TCP goes to port ${ports.outbound}, inbound TCP to port ${ports.inbound}, ${provedText(proofs)}`,
  );
}

function provedText(proofs: Proofs | undefined): string {
  if (proofs === undefined) return 'not proved';
  const families = [
    ...(proofs.ipv4.kind === 'proved' ? ['IPv4'] : []),
    ...(proofs.ipv6.kind === 'proved' ? ['IPv6'] : []),
  ];
  return `proved for outbound ${families.join(' and ')}`;
}
