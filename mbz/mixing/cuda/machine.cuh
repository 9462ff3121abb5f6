// Where in an x86-64 instruction a lane is (../machine.py).

// What an opcode brings along: ModRM; how long an immediate number is, by one bit at most.
enum { HAS_MODRM = 1, HAS_BYTE = 2, HAS_WORD = 4, HAS_THREE = 8, HAS_LONG = 16, HAS_FULL = 32 };

// Goes on with the displacement, if its size is set, then the immediate number, or the next.
__device__ void begin_operand(u32* s) {
  if (s[X_SIZE] == 0) s[X_SIZE] = s[X_AFTER], s[X_AFTER] = 0;
  s[X_LEFT] = s[X_SIZE];
  s[X_TARGET] = 0;
  s[X_PART] = s[X_SIZE] ? X_NUMBER : X_START;
  if (s[X_SIZE]) return;
  s[X_LAST3] = s[X_LAST2], s[X_LAST2] = s[X_LAST];
  s[X_LAST] = s[X_OPCODE] << 8 | s[X_MODRM];
  s[X_OPCODE] = s[X_MODRM] = s[X_WIDE] = 0;
}

__device__ void follow_opcode(u32* s, u32 opcode, const i64* traits) {
  int trait = (int)traits[opcode];
  u32 after = trait & HAS_BYTE ? 1 : trait & HAS_WORD ? 2 : trait & HAS_THREE ? 3 : 0;
  if (trait & HAS_FULL) after = 8;
  if (trait & HAS_LONG) {
    bool full = opcode >> 3 == 0xB8 >> 3 && s[X_WIDE] == 8;
    after = full ? 8 : s[X_WIDE] == 2 ? 2 : 4;
  }
  s[X_OPCODE] = opcode;
  s[X_AFTER] = after;
  s[X_PART] = X_MOD;
  if (trait & HAS_MODRM) return;
  s[X_MODRM] = 0;
  begin_operand(s);
}

__device__ void follow_modrm(u32* s, u32 byte) {
  s[X_MODRM] = byte;
  if (s[X_OPCODE] >> 1 == 0xF6 >> 1 && (byte >> 3 & 7) < 2)
    s[X_AFTER] = s[X_OPCODE] == 0xF6 ? 1 : 4;
  u32 mod = byte >> 6, base = byte & 7;
  s[X_SIZE] = mod == 1 ? 1 : mod == 2 || (mod == 0 && base == 5) ? 4 : 0;
  s[X_PART] = X_SIB;
  if (mod == 3 || base != 4) begin_operand(s);
}

// Renews the state of a lane's instruction after a byte; returns the address that it calls, or -1.
__device__ i64 follow_instruction(const Memory& m, u32* s, u32 byte, i64 position) {
  u32 part = s[X_PART];
  i64 called = -1;
  if (part == X_START) {
    if (m.is_prefix[byte])
      s[X_WIDE] = byte == 0x66 ? 2 : s[X_WIDE];
    else if (byte >> 4 == 4)
      s[X_WIDE] = byte & 8 ? 8 : s[X_WIDE];
    else if (byte == 0x0F)
      s[X_PART] = X_SECOND;
    else if (byte == 0xC4 || byte == 0xC5)
      s[X_PART] = X_VEX, s[X_LEFT] = 0xC6 - byte;
    else
      follow_opcode(s, byte, m.traits);
  } else if (part == X_SECOND) {
    if (byte == 0x38 || byte == 0x3A)
      s[X_OPCODE] = 256 | byte, s[X_PART] = X_THIRD;
    else
      follow_opcode(s, 256 | byte, m.traits);
  } else if (part == X_THIRD) {
    s[X_AFTER] = s[X_OPCODE] == 0x13A;
    s[X_OPCODE] = 512 | byte;
    s[X_PART] = X_MOD;
  } else if (part == X_VEX) {
    if (--s[X_LEFT] == 0) s[X_PART] = X_SECOND;
  } else if (part == X_MOD) {
    follow_modrm(s, byte);
  } else if (part == X_SIB) {
    if ((byte & 7) == 5 && s[X_MODRM] >> 6 == 0) s[X_SIZE] = 4;
    begin_operand(s);
  } else {
    u32 at = s[X_SIZE] - s[X_LEFT];
    if (at < 4) s[X_TARGET] |= byte << (8 * at);
    if (--s[X_LEFT] == 0) {
      if (s[X_SIZE] == 4) called = s[X_TARGET] + (u32)position + 1;
      s[X_SIZE] = 0;
      begin_operand(s);
    }
  }
  return called;
}

// Bytes of an address that are known, and the address as far as they tell.
__device__ u32 known_bytes(const u32* s, i64 position, u32* known) {
  u32 at = 4 - s[X_LEFT];
  *known = (s[X_TARGET] + (u32)position + s[X_LEFT]) & ((1u << (8 * at)) - 1);
  return at;
}

__device__ bool in_address(const u32* s) {
  return s[X_PART] == X_NUMBER && s[X_SIZE] == 4 && s[X_LEFT] < 4;
}

// All but the table of called addresses: m.calls has what goes in, or -1, and what comes next from
// where, or -1.
__device__ void observe_machine(const Memory& m, int lane, i64 position) {
  i64 *row = row_of(m, lane), *state = row + F_MACHINE;
  u32 s[X_WIDTH], known;
#pragma unroll
  for (int k = 0; k < X_WIDTH; k++) s[k] = (u32)state[k];
  int byte = m.past[position];
  m.calls[lane * 2] = follow_instruction(m, s, byte, position);
  i64 from = -1;
  if (in_address(s)) {
    u32 at = known_bytes(s, position + 1, &known);
    from = at == 1 ? known : 256 + (known & 0xFFFF);
  }
  m.calls[lane * 2 + 1] = from;
  bool begins = s[X_PART] == X_START && s[X_WIDE] == 0;
  row[F_INSTRUCTION] = begins ? 0 : joined(row[F_INSTRUCTION], byte + 1);
  row[F_PART] = s[X_PART] << 3 | min(s[X_LEFT], 7u);
  row[F_CODE] = s[X_OPCODE] << 8 | s[X_MODRM];
  row[F_CODE1] = s[X_LAST], row[F_CODE2] = s[X_LAST2], row[F_CODE3] = s[X_LAST3];
#pragma unroll
  for (int k = 0; k < X_WIDTH; k++) state[k] = s[k];
}

// A warp takes the lanes in order to the table; few calls come at once.
__device__ void exchange_calls(const Memory& m, int lanes, int thread) {
  exchange(
      lanes, thread, [&](int lane) { return m.calls[lane * 2] >= 0; },
      [&](int lane) {
        i64* from = m.calls + lane * 2 + 1;
        *from = *from < 0 ? -1 : m.targets[*from];
      },
      [&](int lane) {
        i64 called = m.calls[lane * 2];
        m.targets[called & 255] = called;
        m.targets[256 + (called & 0xFFFF)] = called;
      });
}

// The byte at `position` by the last call of an address with the bytes so far, + 256; or 0.
__device__ void expect_call(const Memory& m, int lane, i64 position) {
  i64* row = row_of(m, lane);
  i64 found = m.calls[lane * 2 + 1];
  int expected = 0;
  if (found >= 0) {
    u32 s[X_WIDTH], known, address = (u32)found;
#pragma unroll
    for (int k = 0; k < X_WIDTH; k++) s[k] = (u32)row[F_MACHINE + k];
    u32 at = known_bytes(s, position, &known);
    // Or there is none.
    if ((address & ((1u << (8 * at)) - 1)) == known)
      expected = 256 | (address - ((u32)position + s[X_LEFT])) >> (8 * at) & 255;
  }
  row[F_ADDRESS] = expected;
}
