import type { RemoraError } from '../errors.ts';
import { FailureError, PermissionError, UnavailableError } from '../errors.ts';
import type { ToolOptions } from '../system-tool.ts';
import { runTool } from '../system-tool.ts';

/** The rules of one network namespace. Every call throws a `RemoraError` that says why nft could not do it. */
export interface Nft {
  /** All rules of the namespace, as nft writes them. */
  listRuleset(): Promise<string>;
  /** Applies one file in one transaction: all of it or nothing. */
  load(text: string): Promise<void>;
}

/** The rules of the network namespace that this process runs in. */
export function createNft(env: ToolOptions['env']): Nft {
  const run = async (doing: string, args: readonly string[], input?: string) => {
    const result = await runTool('nft', args, { env, ...(input === undefined ? {} : { input }) });
    if (result.kind === 'missing') {
      throw new UnavailableError(
        `nft is not on the PATH '${env.PATH ?? ''}', expected the package nftables to be installed`,
      );
    }
    if (result.status !== 0) throw refusal(doing, result.stderr);
    return result.stdout;
  };
  return {
    listRuleset: () => run('list', ['list', 'ruleset']),
    load: async (text) => void (await run('change', ['-f', '-'], text)),
  };
}

/** Why nft failed, from what it wrote. The kernel's answer is the only sign of what this kernel can do. */
export function refusal(doing: string, stderr: string): RemoraError {
  const [why = ''] = stderr.split('\n').filter((line) => line.trim() !== '');
  if (/operation not permitted|permission denied|you must be root/i.test(stderr)) {
    return new PermissionError(
      `nft may not ${doing} the rules of this network namespace (${why}), expected the capability NET_ADMIN`,
    );
  }
  if (/no such file or directory|not supported|unable to initialize netlink/i.test(stderr)) {
    return new UnavailableError(
      `The kernel lacks what the rules need (${why}), expected nf_tables with nat, redir, fib, ct and reject`,
    );
  }
  return new FailureError(`nft could not ${doing} the rules (${why})`);
}
