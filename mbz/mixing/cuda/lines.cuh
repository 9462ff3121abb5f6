// Lines whose numbers alone differ (../lines.py).

__device__ void join_line(i64* s, int byte) {
  s[N_LINE] = (u32)s[N_LINE] * 0x2C1B3C6Du + byte + 1;
  s[N_WORD] = (u32)s[N_WORD] * 0x2C1B3C6Du + byte + 1;
  s[N_PHRASE] = (u32)s[N_PHRASE] * 0x2C1B3C6Du + byte + 1;
}

// Class of a difference, 0 .. 6.
__device__ int change_class(i64 change) {
  if (change > 1) return change < N_FEW ? 3 : 4;
  if (change < -1) return change > -N_FEW ? 5 : 6;
  return (int)change + 1;
}

// Keeps a number in three entries of a table.
__device__ void note_number(i64 value, i64 digits, i64* entry) {
  i64 change = value - entry[0];
  if (change) entry[2] = change;
  entry[0] = value;
  entry[1] = digits;
}

// Of a lane in m.noted: where in the table a number goes, or -1, the number and its digits; then six
// entries of the table, by line and by phrase.
enum { TO_LINE, TO_PHRASE, NOTED_VALUE, NOTED_DIGITS, OF_LINE, OF_PHRASE = OF_LINE + 3, NOTED = 10 };

// Renews the first fields of a lane's state after a byte; ranks: those by rank.
__device__ void follow_line(i64* s, i64* ranks, int byte, i64* noted) {
  noted[TO_LINE] = -1;
  i64 digits = s[N_DIGITS];
  if (byte >= '0' && byte <= '9') {
    if (digits < N_MOST_DIGITS) s[N_VALUE] = (digits ? s[N_VALUE] * 10 : 0) + byte - '0';
    s[N_DIGITS] = digits + 1;
    return;
  }
  if (digits) {
    if (digits <= N_MOST_DIGITS) {
      noted[TO_LINE] = s[N_BY_LINE], noted[TO_PHRASE] = s[N_BY_PHRASE];
      noted[NOTED_VALUE] = s[N_VALUE], noted[NOTED_DIGITS] = digits;
      if (s[N_RANK] < N_MOST_NUMBERS) {
        i64* entry = ranks + 3 * s[N_RANK];
        s[N_RELATIONS] = (s[N_RELATIONS] << 3 | change_class(s[N_VALUE] - entry[0])) & 0x1FF;
        note_number(s[N_VALUE], digits, entry);
      }
    }
    join_line(s, '0');
    s[N_RANK]++;
    s[N_DIGITS] = 0;
  }
  bool letter = byte >= 128 || ((byte | 32) >= 'a' && (byte | 32) <= 'z');
  if (letter && !s[N_IN_WORD]) s[N_PHRASE] = s[N_WORD], s[N_WORD] = 0;
  s[N_IN_WORD] = letter;
  join_line(s, byte);
  if (byte == '\n') s[N_LINE] = s[N_WORD] = s[N_PHRASE] = s[N_RANK] = s[N_RELATIONS] = 0;
  s[N_BY_LINE] = 3 * (s[N_LINE] >> (32 - N_SLOT_BITS));
  s[N_BY_PHRASE] = 3 * ((1 << N_SLOT_BITS) + (s[N_PHRASE] >> (32 - N_SLOT_BITS)));
}

// Quotient of two numbers that are not negative; most are short, which is much faster.
__device__ i64 quotient(i64 value, i64 power) {
  if (value >> 32) return (unsigned long long)value / (unsigned long long)power;
  return power >> 32 ? 0 : (u32)value / (u32)power;
}

// What comes next if the number in progress is one of `digits` digits: 1 + digit, or 11 for its
// end, plus 16 times how the digits so far differ.
__device__ int expected_digit(const i64* s, i64 value, i64 digits, const i64* powers) {
  int left = (int)(digits - s[N_DIGITS]), next = 11;
  if (left) {
    // As numbers are not negative, the digits so far are a tenth of what ends with the next.
    i64 longer = quotient(value, powers[left - 1]);
    value = (unsigned long long)longer / 10;
    next = 1 + (int)(longer - value * 10);
  }
  return next + (s[N_DIGITS] ? 16 * difference(s[N_VALUE] - value) : 0);
}

// All but the table of numbers.
__device__ void observe_numbers(const Memory& m, int lane, i64 position) {
  i64 *row = row_of(m, lane), *state = row + F_NUMBERS;
  i64 s[N_LAST];
#pragma unroll
  for (int k = 0; k < N_LAST; k++) s[k] = state[k];
  int byte = m.past[position];
  i64 line = s[N_LINE];
  follow_line(s, state + N_LAST, byte, m.noted + lane * NOTED);
  if (byte == '\n') row[F_TEMPLATE1] = line;
  row[F_TEMPLATE] = joined(s[N_LINE], s[N_DIGITS]);
  row[F_PHRASE] = joined(s[N_PHRASE], s[N_DIGITS]);
  row[F_RELATIONS] = s[N_RELATIONS];
  row[F_RANK] = s[N_RANK];
#pragma unroll
  for (int k = 0; k < N_LAST; k++) state[k] = s[k];
}

// A warp takes the lanes in order to the table; few numbers end at once.
__device__ void exchange_numbers(const Memory& m, int lanes, int thread) {
  auto noted = [&](int lane) { return m.noted + lane * NOTED; };
  exchange(
      lanes, thread, [&](int lane) { return noted(lane)[TO_LINE] >= 0; },
      [&](int lane) {
        const i64* state = row_of(m, lane) + F_NUMBERS;
        const i64 *line = m.numerals + state[N_BY_LINE], *phrase = m.numerals + state[N_BY_PHRASE];
        i64* own = noted(lane);
        for (int k = 0; k < 3; k++) own[OF_LINE + k] = line[k], own[OF_PHRASE + k] = phrase[k];
      },
      [&](int lane) {
        const i64* own = noted(lane);
        note_number(own[NOTED_VALUE], own[NOTED_DIGITS], m.numerals + own[TO_LINE]);
        note_number(own[NOTED_VALUE], own[NOTED_DIGITS], m.numerals + own[TO_PHRASE]);
      });
}

// How the number in progress goes on, by its rank, by the line and by the phrase.
__device__ void expect_number(const Memory& m, int lane, int by) {
  i64 *row = row_of(m, lane), *s = row + F_NUMBERS;
  const i64* noted = m.noted + lane * NOTED;
  const i64* entry = by == 0   ? s + N_LAST + 3 * min(s[N_RANK], (i64)N_MOST_NUMBERS - 1)
                     : by == 1 ? noted + OF_LINE
                               : noted + OF_PHRASE;
  i64 value = entry[0], digits = entry[1];
  int same = 0, next = 0;
  if (digits && s[N_DIGITS] <= digits) {
    same = expected_digit(s, value, digits, m.powers);
    i64 on = value + entry[2];
    if (on < 0) on = -on;
    next = expected_digit(s, on, digits + (on >= m.powers[digits]), m.powers);
  }
  static_assert(F_LINE_SAME == F_SAME + 2 && F_WORDS_SAME == F_SAME + 4, "pairs in this order");
  row[F_SAME + 2 * by] = same;
  row[F_SAME + 2 * by + 1] = next;
}
