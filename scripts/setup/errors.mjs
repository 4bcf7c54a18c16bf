import process from 'node:process';

/** The exit codes of sysexits.h that set-up uses. */
export const exitCodes = { failure: 1, unavailable: 69, noPermission: 77 };

/** A set-up that cannot go on: the message is for a person and says what to do. */
export class SetupError extends Error {
  constructor(exitCode, message, options) {
    super(message, options);
    this.name = 'SetupError';
    this.exitCode = exitCode;
  }
}

/** Prints one sentence to stderr: stdout belongs to the program that runs after set-up. */
export function say(sentence) {
  process.stderr.write(`remora set-up: ${sentence}\n`);
}

/** Runs `write`, and turns a folder that cannot be written into a sentence. */
export function writing(folder, write) {
  try {
    return write();
  } catch (error) {
    const why = { EACCES: 'belongs to another user', EPERM: 'is protected', EROFS: 'is on a read-only file system' }[
      error.code
    ];
    if (why === undefined) throw error;
    throw new SetupError(
      exitCodes.noPermission,
      `cannot write to ${folder}, which ${why}. Run npm as its owner, or in a copy of the checkout that you can write to.`,
      { cause: error },
    );
  }
}
