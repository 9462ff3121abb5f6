// What all parts use. `Memory` is a block's (../memory.py): arrays as there, then numbers.

#define ALL 0xFFFFFFFFu  // threads of a warp

// Probability, 1 .. 65535, of an adaptive one (../learn.py).
__device__ int chance(int adaptive) { return min(max(adaptive >> 14, 1), 65535); }

// An adaptive probability after bit y.
__device__ int adapted(const Memory& m, int adaptive, int y, int limit) {
  int n = adaptive & 1023, p = adaptive >> 10;
  p += (i64)((y << 20) - p) * m.rates[n] >> 16;
  return min(p, (1 << 20) - 1) << 10 | min(n + 1, limit);
}

// Has memory brought near that will be read soon.
template <class T>
__device__ void fetch(const T* address) {
  PREFETCH(address);
}

// An adaptive probability that several threads of a warp learn: the first of those with one key does
// it for all, in their order.
struct Turn {
  int *at, value;
  u32 same;
};

__device__ Turn open_turn(int* table, bool is, int key, int thread) {
  u32 same = __match_any_sync(ALL, is ? key : -1);
  if (!is || __ffs(same) - 1 != thread) return {nullptr, 0, 0};
  return {table + key, table[key], same};
}

// Several at once, as each waits for itself. bits: of all threads, for each.
template <int N>
__device__ void close_turns(const Memory& m, Turn (&turns)[N], const u32 (&bits)[N],
                            const int (&limits)[N]) {
  for (u32 more = 1; more;) {
    more = 0;
#pragma unroll
    for (int n = 0; n < N; n++) {
      Turn& turn = turns[n];
      int next = adapted(m, turn.value, bits[n] >> (__ffs(turn.same) - 1 & 31) & 1, limits[n]);
      if (turn.same) turn.value = next;
      turn.same &= turn.same - 1;
      more |= turn.same;
    }
  }
#pragma unroll
  for (int n = 0; n < N; n++)
    if (turns[n].at) *turns[n].at = turns[n].value;
}

// A warp takes lanes to a table that they share, in their order, 32 at a time: each lane that writes
// does so by itself, and all read after those up to themselves have written.
template <class Writes, class Read, class Write>
__device__ void exchange(int lanes, int thread, Writes writes, Read read, Write write) {
  for (int first = 0; first < lanes; first += 32) {
    const int lane = first + thread;
    bool waits = lane < lanes;
    for (u32 writers = __ballot_sync(ALL, waits && writes(lane));; writers &= writers - 1) {
      int next = writers ? __ffs(writers) - 1 : 32;
      if (waits && thread < next) {
        read(lane);
        waits = false;
      }
      __syncwarp();
      if (thread == next) write(lane);
      __syncwarp();
      if (!writers) break;
    }
  }
}

// What threads of a warp do for lanes: as there are few, for several tables at a time.
struct Share {
  int table, lane;  // of this thread
  bool is;          // whether there is such a lane and table
};

// The share of a thread in job `job`, with the lanes from `first` on.
__device__ Share share_of(int job, int tables, int first, int lanes, int thread) {
  int each = lanes <= 8 ? 8 : lanes <= 16 ? 16 : 32;
  Share share{job * (32 / each) + thread / each, first + thread % each, false};
  share.is = share.table < tables && share.lane < lanes;
  return share;
}

__device__ int jobs_for(int tables, int lanes) {
  int at_once = lanes <= 8 ? 4 : lanes <= 16 ? 2 : 1;
  return (tables + at_once - 1) / at_once;
}

// What is known of the lanes at one byte and bit; all but `m` lies in shared memory.
struct Bit {
  const Memory& m;
  // Of lanes: inputs, ...
  int *x, *logits, *chosen, *outputs, *final_chosen, *final_outputs, *refined_at;
  int *hits, *known, *seen, *sure, *likely, *share, *partial, *bits, *chances, *key;
  // Of experts in lanes: their buckets, the checks wanted there, ...
  int *at, *check, *run_at, *run_head, *run_key, *turn, *slot, *slot_key;
  // Of all: hash table, what comes next, whether experts share buckets, in both halves of the byte.
  int *table, *jobs, *crowded, *clash;

  // The byte of a lane, after its last bit.
  __device__ int byte(int lane) const { return (partial[lane] << 1 | bits[lane]) & 255; }
};
