// Experts (../contexts.py): what each context says of a bit, and what it learns from it.
//
// Python goes through the lanes, and in each through the experts 16 at a time; of each 16 all read
// before one writes, and of two writes to one place that of the later expert counts.
// Where no two experts share a bucket, each is learnt for all lanes at once; else first the slots of
// those buckets change, lane by lane, and what was found in each is kept for the rest.

#define MISSED (1 << 16)  // beside a check
#define MARK (1u << 31)  // beside a number in the table
// In `turn`, of an expert in a lane: `learn_slots` changes its slot, finds its next bucket, which is
// noted beside these flags. The first is in `run_at`, too, for `note_crowd`.
#define SLOT_IN_TURN 1
#define NEXT_IN_TURN 2
#define IN_TURN 3
#define INT_MOST 0x7FFFFFFF

// The slot of its bucket that holds what is known of this bit.
__device__ int node_of(int bit, int partial) {
  return bit < 4 ? partial : (partial & ((1 << (bit - 4)) - 1)) | 1 << (bit - 4);
}

// Hashes a context of the byte that the lane's features tell of.
__device__ void hash_context(const Memory& m, int lane, int e) {
  const i64* row = row_of(m, lane);
  u32 h = (u32)m.recipes[e];
  for (int place = 1; place <= MOST_FEATURES; place++) {
    i64 feature = m.recipes[e + m.experts * place];
    if (feature != F_NOTHING) h = joined(h, row[feature]);
  }
  m.hashes[lane * m.experts + e] = h;
}

// First slot of the bucket where a context should be, and the check wanted there.
__device__ int place_of(const Memory& m, int lane, int e, int half, int* check) {
  u32 h = m.hashes[lane * m.experts + e];
  if (half) h = joined(h, half);
  u64 mixed = (u64)h * F_MIX;
  *check = (u32)(mixed >> 22) & 0xFFFF;
  return ((u32)(mixed >> 40) & (m.buckets - 1)) << 4;
}

// The bucket with this check beside the first one, or else the least used of them, cleared.
__device__ int find_neighbour(const Memory& m, int first, int check) {
  u32 head[3], use[3];
#pragma unroll
  for (int k = 0; k < 3; k++) {
    int at = first ^ k << 4;
    head[k] = m.slots[at], use[k] = m.slots[at + 1] >> 8 & 63;
  }
  if (head[1] >> 16 == check) return first ^ 16;
  if (head[2] >> 16 == check) return first ^ 32;
  int best = use[1] < use[0];
  if (use[2] < use[best]) best = 2;
  int at = first ^ best << 4;
  const u32 empty = 1u << 31;
  uint4* bucket = (uint4*)(m.slots + at);
  bucket[0] = make_uint4((u32)check << 16, empty, empty, empty);
  for (int k = 1; k < 4; k++) bucket[k] = make_uint4(empty, empty, empty, empty);
  return at;
}

// Puts a number above 0 into the table, unless there is one that is alike but for its low bits;
// returns where it is.
__device__ u32* put_in(const Bit& b, u32 own, int low) {
  u32 mask = b.m.table - 1, *table = (u32*)b.table;
  for (u32 k = (own >> low) * F_STEP >> 7 & mask;; k = k + 1 & mask) {
    u32 other = atomicCAS(table + k, 0u, own);
    if (!other || (other & ~MARK) >> low == own >> low) return table + k;
  }
}

// Whether a number is in the table and marked.
__device__ bool is_marked(const Bit& b, u32 own) {
  u32 mask = b.m.table - 1, *table = (u32*)b.table;
  for (u32 k = own * F_STEP >> 7 & mask; table[k]; k = k + 1 & mask)
    if ((table[k] & ~MARK) == own) return table[k] & MARK;
  return false;
}

// Marks a number that is in the table; returns whether it is.
__device__ bool mark(const Bit& b, u32 own) {
  u32 mask = b.m.table - 1, *table = (u32*)b.table;
  for (u32 k = own * F_STEP >> 7 & mask; table[k]; k = k + 1 & mask)
    if ((table[k] & ~MARK) == own) return table[k] = own | MARK;
  return false;
}

__device__ void clear_table(const Bit& b, int words) {
  for (int k = threadIdx.x; k < words; k += blockDim.x) b.table[k] = 0;
}

// Says whether different experts share a bucket, and if so which.
__device__ void find_crowds(const Bit& b, bool half, int lanes) {
  const int experts = b.m.experts, units = lanes * experts;
  auto entry_of = [&](int unit) { return put_in(b, (b.at[unit] >> 4) + 1 << 7 | unit % experts, 7); };
  clear_table(b, b.m.table);
  if (threadIdx.x == 0) b.crowded[half] = 0;
  __syncthreads();
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
    u32* entry = entry_of(unit);
    if ((*entry & 127) == unit % experts) continue;
    *entry |= MARK;  // several write the same
    b.crowded[half] = 1;
  }
  __syncthreads();
  if (!b.crowded[half]) return;
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
    b.turn[unit] = *entry_of(unit) & MARK ? SLOT_IN_TURN : 0;
    if (!half) b.run_at[unit] |= b.turn[unit];
  }
  __syncthreads();
}

// Says whether a bucket that a lane takes in the middle of the byte might be one where a later lane
// is still to learn the bit before, and if so which may be concerned: as a context has its bucket
// among four, all that have one or want one among such four.
__device__ void find_clash(const Bit& b, int lanes) {
  const Memory& m = b.m;
  const int units = lanes * m.experts;
  auto next_of = [&](int unit, int* check) {
    int lane = unit / m.experts;
    return place_of(m, lane, unit % m.experts, b.partial[lane] << 1 | b.bits[lane], check);
  };
  int check;
  clear_table(b, m.table);
  if (threadIdx.x == 0) *b.clash = 0;
  __syncthreads();
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x)
    put_in(b, (b.at[unit] >> 6) + 1, 0);
  __syncthreads();
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
    int next = next_of(unit, &check);
    if ((int)(m.slots[next] >> 16) != check && mark(b, (next >> 6) + 1)) *b.clash = 1;
  }
  __syncthreads();
  if (!*b.clash) return;
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
    int turn = b.crowded[0] ? b.turn[unit] : 0;
    if (is_marked(b, (b.at[unit] >> 6) + 1)) turn |= SLOT_IN_TURN;
    if (is_marked(b, (next_of(unit, &check) >> 6) + 1)) turn |= NEXT_IN_TURN;
    b.turn[unit] = turn;
  }
  __syncthreads();
}

// Notes the head of a context's bucket, as it is once the context has its bucket.
__device__ void begin_run(const Bit& b, int unit) {
  u32 head = b.m.slots[b.at[unit]], check = (u32)b.check[unit];
  b.run_at[unit] = b.at[unit];
  // Another context may have taken the bucket just now.
  b.run_head[unit] = head >> 16 == check ? head : check << 16;
}

__device__ bool misses(const Bit& b, int unit) {
  return (int)(b.m.slots[b.at[unit]] >> 16) != b.check[unit];
}

// The next unit of a list, in order, after `last`; or -1.
__device__ int next_in(const Bit& b, int list, int last) {
  int next = INT_MOST;
  for (int unit = list; unit >= 0; unit = b.turn[unit])
    if (unit > last) next = min(next, unit);
  return next == INT_MOST ? -1 : next;
}

// A thread finds the buckets of all units of a list, lane by lane: in a lane first all look, then
// those who miss take buckets, in their order.
__device__ void find_in_turn(const Bit& b, bool half, int list) {
  const int experts = b.m.experts;
  for (int unit = next_in(b, list, -1), next; unit >= 0; unit = next) {
    const int end = (unit / experts + 1) * experts;  // of the lane
    u32 missed = misses(b, unit);
    next = next_in(b, list, unit);
    if (next < 0 || next >= end) {
      if (missed) b.at[unit] = find_neighbour(b.m, b.at[unit], b.check[unit]);
      if (!half) begin_run(b, unit);
      continue;
    }
    if (missed) b.check[unit] |= MISSED;
    for (; next >= 0 && next < end; next = next_in(b, list, next))
      if (misses(b, next)) b.check[next] |= MISSED, missed++;
    for (int its = unit; missed; its = next_in(b, list, its)) {
      if (!(b.check[its] & MISSED)) continue;
      b.check[its] &= ~MISSED, missed--;
      b.at[its] = find_neighbour(b.m, b.at[its], b.check[its]);
    }
    for (int its = unit; its >= 0 && its < end && !half; its = next_in(b, list, its))
      begin_run(b, its);
  }
}

// Points each expert of each lane to its context's bucket, before the byte or in its middle.
//
// Only where something is missing do buckets change, and then no others than the four around. So
// all look at once, and those around a miss again in turn, each place by one thread. Different
// places have no need to wait for each other; a few that share an entry of the table do.
__device__ void find_buckets(const Bit& b, bool half, int lanes) {
  const Memory& m = b.m;
  const int units = lanes * m.experts, first = threadIdx.x, step = blockDim.x;
  int *lists = b.table, *missed = b.table + m.table / 2;
  const int mask = m.table / 2 - 1;
  auto is_found = [&](int unit) { return half && *b.clash && b.turn[unit] & NEXT_IN_TURN; };
  clear_table(b, m.table);
  __syncthreads();
  for (int unit = first; unit < units; unit += step) {
    if (is_found(unit)) {
      b.at[unit] = b.turn[unit] & ~IN_TURN;
      continue;
    }
    int lane = unit / m.experts;
    b.at[unit] = place_of(m, lane, unit % m.experts, half ? b.partial[lane] : 0, b.check + unit);
    if (misses(b, unit)) missed[b.at[unit] >> 6 & mask] = 1;
  }
  __syncthreads();
  for (int unit = first; unit < units; unit += step) {
    if (is_found(unit)) continue;
    int place = b.at[unit] >> 6 & mask;
    if (missed[place])
      b.turn[unit] = atomicExch(lists + place, unit + 1) - 1;
    else if (!half)
      begin_run(b, unit);
  }
  __syncthreads();
  for (int place = first; place <= mask; place += step)
    if (lists[place]) find_in_turn(b, half, lists[place] - 1);
  __syncthreads();
  find_crowds(b, half, lanes);
}

// A warp does the same for one lane in the middle of its byte, which begins with these bits, where
// that is to be done in turn.
__device__ void find_next(const Bit& b, int lane, int bits, int thread) {
  const Memory& m = b.m;
  const int first = lane * m.experts, end = first + m.experts;
  int missed = 0;
  for (int unit = first + thread; unit < end; unit += 32) {
    if (!(b.turn[unit] & NEXT_IN_TURN)) continue;
    int at = place_of(m, lane, unit - first, bits, b.check + unit);
    b.turn[unit] |= at;
    if ((int)(m.slots[at] >> 16) != b.check[unit]) b.check[unit] |= MISSED, missed = 1;
  }
  __syncwarp();
  if (!__ballot_sync(ALL, missed)) return;
  for (int unit = first; unit < end && thread == 0; unit++) {
    int turn = b.turn[unit];
    if (!(turn & NEXT_IN_TURN) || !(b.check[unit] & MISSED)) continue;
    b.check[unit] &= ~MISSED;
    b.turn[unit] = find_neighbour(m, turn & ~IN_TURN, b.check[unit]) | (turn & IN_TURN);
  }
  __syncwarp();
}

// Inputs of an expert; returns whether it knows its context.
__device__ bool expert_inputs(const Bit& b, int lane, int e, int bit, int* x) {
  const Memory& m = b.m;
  const int unit = lane * m.experts + e, num = m.experts, partial = b.partial[lane];
  u32 slot = m.slots[b.at[unit] + node_of(bit, partial)];
  b.slot[unit] = slot;
  if (m.full) {
    u32 head = b.run_head[unit];
    int length = head & 255, byte = (head >> 8 & 255) | 256;
    bool fits = length && byte >> (8 - bit) == partial;
    int y = byte >> (7 - bit) & 1, key = min(length, 31) << 3 | bit;
    int st = fits ? m.stretch[chance(m.run_chance[(e << 9) + key])] : 0;
    x[3 * num + e] = y ? st : -st;
    b.run_key[unit] = fits ? key << 1 | y : -1;
  }
  int state = slot & 255, count = slot >> 8 & 63;
  if (!state) {
    x[e] = x[num + e] = x[2 * num + e] = 0;
    return false;
  }
  int known = m.state_chance[(e << 11) + (bit << 8) + state];
  int key = (m.stretch[slot >> 16] + 2944) >> 7;
  b.slot_key[unit] = key;
  x[num + e] = m.stretch[chance(m.slot_chance[(e * COUNTS + count) * BUCKETS + key])];
  int q = chance(known);
  x[e] = m.stretch[q];
  x[2 * num + e] = (q - 32768) >> 5;
  return true;
}

// What a slot holds after a bit.
__device__ u32 slot_after(const Memory& m, u32 slot, int y) {
  int state = slot & 255, count = slot >> 8 & 63, p = slot >> 14;
  p += (i64)((y << 18) - p) * m.rates[count] >> 16;
  p = min(max(p, 4), (1 << 18) - 4);
  return (u32)p << 14 | min(count + 1, C_COUNT_LIMIT) << 8 | m.next_state[state * 2 + y];
}

// The head of a context's bucket, after a byte: which one came last and how often in a row.
__device__ u32 noted_run(u32 head, int byte) {
  int length = (int)(head >> 8 & 255) == byte ? min((int)(head & 255) + 1, 255) : 1;
  return head >> 16 << 16 | byte << 8 | length;
}

// A warp learns a bit of all lanes in experts.
__device__ void learn_experts(const Bit& b, int job, int bit, int lanes, int thread) {
  const Memory& m = b.m;
  const bool in_turn = b.crowded[bit > 3] || (bit == 3 && *b.clash);
  for (int first = 0; first < lanes; first += 32) {
    const auto [e, lane, is] = share_of(job, m.experts, first, lanes, thread);
    const int unit = lane * m.experts + e, y = is ? b.bits[lane] : 0;
    const u32 ones = __ballot_sync(ALL, y);
    // `learn_slots` has done the others.
    const bool own = is && !(in_turn && b.turn[unit] & SLOT_IN_TURN);
    int place = own ? b.at[unit] + node_of(bit, b.partial[lane]) : 0;
    u32 slot = !is ? 0 : own && first ? m.slots[place] : b.slot[unit];
    // Lanes in the same context find what those before have learnt there.
    u32 same = __match_any_sync(ALL, own ? place : -1);
    for (u32 left = own ? same & ((1u << thread) - 1) : 0; left; left &= left - 1)
      slot = slot_after(m, slot, ones >> (__ffs(left) - 1) & 1);
    int state = slot & 255, count = slot >> 8 & 63, run = is && m.full ? b.run_key[unit] : -1;
    bool known = is && state;
    int key = known ? (e * COUNTS + count) * BUCKETS + b.slot_key[unit] : 0;
    Turn turns[3] = {
        open_turn(m.state_chance, known, (e << 11) + (bit << 8) + state, thread),
        open_turn(m.slot_chance, known, key, thread),
        open_turn(m.run_chance, run >= 0, (e << 9) + (run >> 1), thread),
    };
    if (own && same >> thread == 1) m.slots[place] = slot_after(m, slot, y);
    const u32 hits = __ballot_sync(ALL, run >= 0 && (run & 1) == y);
    close_turns(m, turns, {ones, ones, hits}, {C_STATE_LIMIT, C_SLOT_LIMIT, C_RUN_LIMIT});
    __syncwarp();
  }
}

// After a byte: a warp notes it in the heads of experts' buckets.
__device__ void note_runs(const Bit& b, int job, int lanes, int thread) {
  const Memory& m = b.m;
  for (int first = 0; first < lanes; first += 32) {
    const auto [e, lane, is] = share_of(job, m.experts, first, lanes, thread);
    const int unit = lane * m.experts + e, place = is ? b.run_at[unit] : 0;
    const bool own = is && !(place & SLOT_IN_TURN);  // `note_crowd` does the others
    u32 head = own ? b.run_head[unit] : 0, now = own ? m.slots[place] : 0;
    u32 same = __match_any_sync(ALL, own ? place : -1);
    // Or has another context taken the bucket meanwhile?
    same &= __ballot_sync(ALL, own && head >> 16 == now >> 16);
    if (same >> thread == 1) m.slots[place] = noted_run(head, b.byte(lane));
    __syncwarp();
  }
}

// Where experts share buckets: changes one slot for each expert of a warp, as `changed(slot)` says.
template <class Change>
__device__ void change(const Memory& m, bool is, int place, int thread, Change changed) {
  u32 same = __match_any_sync(ALL, is ? place : -1);
  same &= thread < 16 ? 0xFFFF : 0xFFFF0000;
  for (int half = 0; half < 2; half++) {
    bool now = is && thread >> 4 == half;
    u32 slot = now ? m.slots[place] : 0;
    __syncwarp();
    if (now) slot = changed(slot);
    if (now && same >> thread == 1) m.slots[place] = slot;
    __syncwarp();
  }
}

// A warp changes the slots that are changed in turn, lane by lane; if there is a clash, each lane
// finds its next buckets before the next one does so.
__device__ void learn_slots(const Bit& b, int bit, int lanes, int thread) {
  const Memory& m = b.m;
  for (int lane = 0; lane < lanes; lane++) {
    const int node = node_of(bit, b.partial[lane]), y = b.bits[lane];
    for (int e = thread; e - thread < m.experts; e += 32) {
      const int unit = lane * m.experts + e;
      const bool is = e < m.experts && b.turn[unit] & SLOT_IN_TURN;
      if (!__ballot_sync(ALL, is)) continue;
      change(m, is, is ? b.at[unit] + node : 0, thread, [&](u32 slot) {
        b.slot[unit] = slot;
        return slot_after(m, slot, y);
      });
    }
    if (bit == 3 && *b.clash) find_next(b, lane, b.partial[lane] << 1 | y, thread);
  }
}

__device__ void note_crowd(const Bit& b, int lanes, int thread) {
  const Memory& m = b.m;
  for (int lane = 0; lane < lanes; lane++)
    for (int e = thread; e - thread < m.experts; e += 32) {
      const int unit = lane * m.experts + e, place = e < m.experts ? b.run_at[unit] : 0;
      const bool is = place & SLOT_IN_TURN;
      if (!__ballot_sync(ALL, is)) continue;
      change(m, is, place & ~SLOT_IN_TURN, thread, [&](u32 now) {
        u32 head = b.run_head[unit];
        return head >> 16 == now >> 16 ? noted_run(head, b.byte(lane)) : now;
      });
    }
}
