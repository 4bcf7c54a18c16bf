import { openStateDirectory } from '../../src/control-plane/state-directory.ts';
import { rotationWrites } from './rotation-states.ts';

/*
 * Takes one step of a rotation on a state directory, and kills itself before a given write: a real SIGKILL, as a node that
 * loses power or an operator with too little patience gives it.
 */
const [directory = '', step = '', killedBefore = ''] = process.argv.slice(2);
const folder = `${directory}/authority`;
const writes = rotationWrites(step, folder, await openStateDirectory(directory, 'cluster.local', Date.now()));
for (const [index, write] of writes.entries()) {
  if (index === Number(killedBefore)) process.kill(process.pid, 'SIGKILL');
  await write();
}
if (writes.length === Number(killedBefore)) process.kill(process.pid, 'SIGKILL');
