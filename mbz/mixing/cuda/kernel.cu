// Mixing of the lanes of many blocks (../kernel.py): equal to it bit for bit, a block of threads for
// each block of content.
//
// Lanes share what they learn, one after the other. So chances are worked out for all lanes at a
// time; what learns is dealt to warps by the tables that they write, each for all lanes.

// The network's counts of the next byte: running sums, the likeliest byte, its share in 1/16.
__device__ void begin_network(const Bit& b, int lane, const float* counts, int thread) {
  u32 own[8], sum = 0, best = 0;
  for (int k = 0; k < 8; k++) {
    own[k] = (u32)counts[thread * 8 + k];
    sum += own[k];
    best = max(best, own[k]);
  }
  u32 before = sum;
  for (int far = 1; far < 32; far <<= 1) {
    u32 other = __shfl_up_sync(ALL, before, far);
    if (thread >= far) before += other;
  }
  before -= sum;
  u32* sums = b.m.counts + lane * 257 + thread * 8;
  for (int k = 0; k < 8; k++) sums[k + 1] = before += own[k];
  u32 most = __reduce_max_sync(ALL, best);
  u32 first = 256;
  for (int k = 7; k >= 0; k--)
    if (own[k] == most) first = thread * 8 + k;
  first = __reduce_min_sync(ALL, first);
  if (thread) return;
  b.likely[lane] = most ? first : 0;
  b.share[lane] = min(most >> 20, 15u);
}

__device__ void learn_network(const Bit& b, int lanes, int thread) {
  for (int first = 0; first < lanes; first += 32) {
    const int lane = first + thread;
    const bool is = lane < lanes;
    u32 ones = __ballot_sync(ALL, is && b.bits[lane]);
    Turn turns[1] = {open_turn(b.m.network_chance, is, is ? b.key[lane] : 0, thread)};
    close_turns(b.m, turns, {ones}, {255});
    __syncwarp();
  }
}

// The next of some jobs for this warp.
__device__ int next_job(const Bit& b, int thread) {
  int job = thread == 0 ? atomicAdd(b.jobs, 1) : 0;
  return __shfl_sync(ALL, job, 0);
}

// Before the byte at step t of the first lanes: contexts, matches, network.
__device__ void begin(const Bit& b, i64 t, int lanes, const float* counts, i64 stride) {
  const Memory& m = b.m;
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, thread = threadIdx.x % 32;
  const bool numbers = m.fully && t > 0;
  for (int job = warp; job < m.models + 2 + lanes; job += warps) {
    if (job < m.models) {
      exchange_heads(m, job, t, lanes, thread);
    } else if (job == m.models) {
      if (numbers) exchange_numbers(m, lanes, thread);
    } else if (job == m.models + 1) {
      if (numbers) exchange_calls(m, lanes, thread);
    } else {
      int lane = job - m.models - 2;
      begin_network(b, lane, counts + lane * stride, thread);
    }
  }
  __syncthreads();
  for (int unit = threadIdx.x; unit < lanes * m.models; unit += blockDim.x)
    find_match(m, unit / m.models, unit % m.models, t);
  if (numbers)
    for (int unit = blockDim.x - 1 - threadIdx.x; unit < lanes * 4; unit += blockDim.x) {
      int lane = unit % lanes, by = unit / lanes;
      if (by < 3) expect_number(m, lane, by);
      if (by == 3) expect_call(m, lane, m.starts[lane] + t);
    }
  __syncthreads();
  for (int lane = threadIdx.x; lane < lanes; lane += blockDim.x) {
    expect_byte(m, lane);
    know(b, lane);
    b.partial[lane] = 1;
  }
  __syncthreads();
  for (int unit = threadIdx.x; unit < lanes * m.experts; unit += blockDim.x)
    hash_context(m, unit / m.experts, unit % m.experts);
  find_buckets(b, false, lanes);
}

// The chance of a one in the next bit of each lane.
__device__ void predict(const Bit& b, int bit, int lanes) {
  const Memory& m = b.m;
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, thread = threadIdx.x % 32;
  const int of_experts = m.experts * (m.full ? 4 : 3), units = lanes * m.experts;
  for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
    int lane = unit / m.experts;
    if (expert_inputs(b, lane, unit % m.experts, bit, b.x + lane * m.width))
      atomicAdd(b.seen + lane, 1);
  }
  // Others than those who have most to do with experts.
  const int mine = blockDim.x - 1 - threadIdx.x;
  for (int unit = mine; unit < lanes * m.models; unit += blockDim.x) {
    int lane = unit / m.models, k = unit % m.models;
    int* x = b.x + lane * m.width + of_experts + 3 * k;
    b.hits[unit] = match_inputs(m, lane, k, bit, b.partial[lane], x);
  }
  for (int lane = (mine + blockDim.x - 64) % blockDim.x; lane < lanes; lane += blockDim.x)
    network_inputs(b, lane, bit, b.x + lane * m.width + of_experts + 3 * m.models);
  for (int lane = (mine + blockDim.x - 96) % blockDim.x; lane < lanes; lane += blockDim.x)
    approach_calibrations(b, lane);
  if (threadIdx.x == 0) *b.jobs = 0;
  __syncthreads();
  for (int lane = warp; lane < lanes; lane += warps) mix(b, lane, bit, thread);
  __syncthreads();
}

// Learns the bits that came in each lane; after the last, the bytes. Each warp takes one job after
// the other, the longest first.
__device__ void update(const Bit& b, i64 t, int bit, int lanes) {
  const Memory& m = b.m;
  const int thread = threadIdx.x % 32;
  const bool last = bit == 7;
  find_errors(b, t, lanes);
  if (bit == 3) find_clash(b, lanes);
  for (int lane = threadIdx.x; lane < lanes; lane += blockDim.x) b.seen[lane] = 0;
  __syncthreads();
  if (b.crowded[bit > 3] || (bit == 3 && *b.clash)) {
    if (threadIdx.x < 32) learn_slots(b, bit, lanes, thread);
    __syncthreads();
  }
  const int of_experts = jobs_for(m.experts, lanes), of_models = jobs_for(m.models, lanes);
  const int of_calibrations = jobs_for(4, lanes);
  for (;;) {
    int job = next_job(b, thread);
    if (last) {
      int lane = job / 3, what = job % 3;
      if (lane < lanes) {
        i64 position = m.starts[lane] + t;
        if (thread == 0 && what == 0) observe_alone(m, lane, position);
        if (thread == 0 && what == 1 && m.fully) observe_numbers(m, lane, position);
        if (thread == 0 && what == 2 && m.fully) observe_machine(m, lane, position);
        continue;
      }
      job -= lanes * 3;
      if (job == 0) observe_after(m, t, lanes, thread);
      if (job == 1)
        for (int lane = thread; lane < lanes; lane += 32) approach_matches(m, lane, t);
      if (job < 2) continue;
      job -= 2;
    }
    if (job < of_experts) {
      learn_experts(b, job, bit, lanes, thread);
      if (last && m.full) note_runs(b, job, lanes, thread);
      continue;
    }
    job -= of_experts;
    if (job == 0) {
      if (last && m.full && b.crowded[0]) note_crowd(b, lanes, thread);
    } else if (--job < m.sets) {
      learn_rows<4, 32>(m.weights, m.width, b.x, b.chosen + job, b.outputs + job, m.sets, lanes,
                        thread);
    } else if ((job -= m.sets) < m.finals) {
      learn_rows<2, 4>(m.final_weights, 16, b.logits, b.final_chosen + job, b.final_outputs + job,
                       4, lanes, thread);
    } else if ((job -= m.finals) < of_calibrations) {
      learn_calibrations(b, job, lanes, thread);
    } else if ((job -= of_calibrations) < of_models) {
      learn_matches(b, job, lanes, thread);
    } else if (job == of_models) {
      learn_network(b, lanes, thread);
    } else if (job == of_models + 1 && last) {
      for (int unit = thread; unit < lanes * m.models; unit += 32)
        follow_match(m, unit / m.models, unit % m.models, t);
    } else {
      break;
    }
  }
  __syncthreads();
  for (int lane = threadIdx.x; lane < lanes; lane += blockDim.x)
    b.partial[lane] = b.partial[lane] << 1 | b.bits[lane];
  if (bit == 3) {
    __syncthreads();
    find_buckets(b, true, lanes);
  }
  __syncthreads();
}

// The next bit, of chance p (../bits.py).
__device__ int decode_bit(const Memory& m, u64& low, u64& range, i64& at, int p) {
  u64 ones = (range >> 16) * p;
  int y = low < ones;
  if (y) {
    range = ones;
  } else {
    low -= ones;
    range -= ones;
  }
  while (range < 1ull << 40) {
    low = low << 8 | (at < m.code_size ? m.code[at] : 0);
    range <<= 8;
    at++;
  }
  return y;
}

// One thread decodes a bit of each lane, in turn.
__device__ void decode(const Bit& b, int lanes) {
  i64* coder = b.m.coder;
  u64 low = coder[0], range = coder[1];
  i64 at = coder[2];
  for (int lane = 0; lane < lanes; lane++)
    b.bits[lane] = decode_bit(b.m, low, range, at, b.chances[lane]);
  coder[0] = low, coder[1] = range, coder[2] = at;
}

// Codes some steps of each block, from the step *first on.
//
// counts: of all lanes and steps, 256 each, `lane_stride` and `step_stride` apart. symbols: the
// bytes of all lanes, one column for each step; or, if `chances` is null, filled with those that
// are decoded, for one step. chances: (steps, 8, all_lanes), filled where a lane has a byte.
extern "C" __global__ void __launch_bounds__(THREADS, 1) code(
    const Memory* blocks, const i64* first, int steps, const float* counts, i64 lane_stride,
    i64 step_stride, i64* symbols, unsigned short* chances, int all_lanes) {
  SHARED(int, scratch);
  __shared__ Memory m;
  for (int k = threadIdx.x; k < sizeof(Memory) / 4; k += blockDim.x)
    ((int*)&m)[k] = ((const int*)(blocks + blockIdx.x))[k];
  __syncthreads();
  int* free = scratch;
  auto take = [&](int words) {
    int* taken = free;
    free += words;
    return taken;
  };
  auto lane = [&](int words) { return take(words * m.lanes); };
  auto expert = [&] { return lane(m.experts); };
  // Those that are read four words at a time come first.
  const Bit b{m, lane(m.width), lane(16), lane(m.sets), lane(m.sets), lane(4), lane(4), lane(4),
              lane(m.models), lane(KNOWN), lane(1), lane(1), lane(1), lane(1), lane(1), lane(1),
              lane(1), lane(1), expert(), expert(), expert(), expert(), expert(), expert(),
              expert(), expert(), take(m.table), take(1), take(2), take(1)};
  for (int* k = scratch + threadIdx.x; k < free; k += blockDim.x) *k = 0;
  __syncthreads();
  for (int lane = threadIdx.x; lane < m.lanes; lane += blockDim.x)
    b.x[lane * m.width + m.experts * (m.full ? 4 : 3) + 3 * m.models + 3] = 256;
  for (int unit = threadIdx.x; unit < m.lanes * m.experts; unit += blockDim.x)
    b.slot_key[unit] = m.slot_key[unit];
  __syncthreads();
  for (int step = 0; step < steps; step++) {
    const i64 t = *first + step;
    if (t >= m.steps) break;
    const int lanes = t + 1 < m.steps ? m.lanes : m.lanes_in_last;
    begin(b, t, lanes, counts + m.first_lane * lane_stride + step * step_stride, lane_stride);
    for (int bit = 0; bit < 8; bit++) {
      predict(b, bit, lanes);
      if (chances) {
        for (int lane = threadIdx.x; lane < lanes; lane += blockDim.x) {
          b.bits[lane] = symbols[(i64)(m.first_lane + lane) * steps + step] >> (7 - bit) & 1;
          chances[(step * 8 + bit) * (i64)all_lanes + m.first_lane + lane] = b.chances[lane];
        }
      } else if (threadIdx.x == 0) {
        decode(b, lanes);
      }
      __syncthreads();
      if (bit == 7) {
        for (int lane = threadIdx.x; lane < lanes; lane += blockDim.x) {
          m.past[m.starts[lane] + t] = b.byte(lane);
          if (!chances) symbols[m.first_lane + lane] = b.byte(lane);
        }
        __syncthreads();
      }
      update(b, t, bit, lanes);
    }
  }
  for (int unit = threadIdx.x; unit < m.lanes * m.experts; unit += blockDim.x)
    m.slot_key[unit] = b.slot_key[unit];
}
