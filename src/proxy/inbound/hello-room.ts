import { DeniedError } from '../../errors.ts';

/** What a client may have sent of a hello without needing room. None that a library makes is longer, with post-quantum key shares and all. */
const freeBytes = 16 * 1024;

/** Of memory, for all hellos together. */
export const maxHelloRoomBytes = 16 * 1024 * 1024;

/** Room for the long hellos that are not finished, of peers that have proved nothing yet. */
export interface HelloRoom {
  hold(): HelloHold;
}

/** What one connection holds. */
export interface HelloHold {
  /** It takes so many bytes of memory now. Throws `DeniedError` when that is more than it may have and the room is full. */
  resize(bytes: number): void;
  release(): void;
}

/** Who would need more than is left is refused, and nobody who holds something already. */
export function createHelloRoom(): HelloRoom {
  let inUse = 0;
  return {
    hold() {
      let own = 0;
      return {
        resize(bytes) {
          const wanted = bytes > freeBytes ? bytes : 0;
          if (wanted > own && inUse - own + wanted > maxHelloRoomBytes)
            throw new DeniedError('handshake_limit', `Hellos that are not finished hold ${inUse} bytes already`);
          inUse += wanted - own;
          own = wanted;
        },
        release() {
          inUse -= own;
          own = 0;
        },
      };
    },
  };
}
