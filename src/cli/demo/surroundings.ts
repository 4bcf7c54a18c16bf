import type { ToolOptions } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';

/** Where the demo can run its pods: as real ones, or as processes on loopback, and why not better. */
export type Surroundings = { readonly kind: 'namespaces' } | { readonly kind: 'loopback'; readonly why: string };

/** Makes in a namespace that vanishes at once what the demo will need: a bridge, a pair of interfaces, a rule. */
const attempt = `ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2 &&
nft 'add table inet probe; add chain inet probe c { type nat hook output priority -101; }; add rule inet probe c meta l4proto tcp redirect to :15001'`;

export async function findSurroundings({
  uid,
  env,
}: {
  readonly uid: number;
  readonly env: ToolOptions['env'];
}): Promise<Surroundings> {
  if (uid !== 0) return { kind: 'loopback', why: `this is user ${uid}, and namespaces need root` };
  for (const tool of ['ip', 'nft', 'setpriv', 'unshare']) {
    const { kind } = await runTool(tool, ['--version'], { env });
    if (kind === 'missing') return { kind: 'loopback', why: `${tool} is not on the PATH` };
  }
  const result = await runTool('unshare', ['--net', '--mount', '--', 'sh', '-c', attempt], { env });
  if (result.kind === 'ended' && result.status === 0) return { kind: 'namespaces' };
  const [first = ''] = result.kind === 'missing' ? [] : result.stderr.trim().split('\n');
  const why = first.replace(/^unshare: /, '');
  return { kind: 'loopback', why: why === '' ? 'unshare failed' : why };
}
