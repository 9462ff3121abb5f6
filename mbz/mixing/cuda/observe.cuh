// What is known of a lane before its next byte (../features.py).
//
// After each byte several threads renew the rows of the lanes at the same time: observe_alone,
// observe_after, observe_machine and observe_numbers. None reads a field that another writes. What
// goes through tables that lanes share is done for all lanes by one warp, in their order.

// Hash of a hash and one more value.
__device__ i64 joined(i64 h, i64 value) {
  u32 mixed = ((u32)h ^ (u32)value) * (u32)F_STEP + (u32)F_MORE;
  return mixed ^ mixed >> 15;
}

__device__ i64* row_of(const Memory& m, int lane) { return m.rows + (i64)lane * F_WIDTH; }

// A byte of this lane, or 0 before its beginning.
__device__ int byte_of(const unsigned char* past, i64 position, i64 start) {
  return position >= start ? past[position] : 0;
}

// How something differs by this much: 0 not, else one more, one less, more, less.
__device__ int difference(i64 change) {
  if (change == 0) return 0;
  return change == 1 ? 1 : change == -1 ? 2 : change > 0 ? 3 : 4;
}

__device__ bool ends_cell(int byte) {
  return byte == ',' || byte == '\t' || byte == ';' || byte == '|';
}

__device__ bool ends_field(int byte) {
  return ends_cell(byte) || byte == ' ' || byte == ':' || byte == '=' || byte == '"' ||
         byte == '>' || byte == '<';
}

// The bytes before, and their hashes.
__device__ void observe_bytes(i64* row, int byte) {
  i64 last = byte, h = byte + 1;
#pragma unroll
  for (int k = 0; k < F_C8 - F_C1; k++) {
    i64 before = row[F_C1 + k];
    row[F_C1 + k] = last;
    h = joined(h, before);
    row[F_ORDER2 + k] = h;
    last = before;
  }
  row[F_C8] = last;
  row[F_HIGHS] = (row[F_HIGHS] << 3 | byte >> 5) & 0x3FFFFFFF;
}

__device__ void observe_words(i64* row, int byte, int kind) {
  bool letter = kind == F_LETTER || kind == F_CAPITAL || kind == F_HIGH;
  bool was_letter = row[F_LAST_KIND] == F_LETTER;
  i64 word = row[F_WORD], gap = row[F_GAP], shape = row[F_SHAPE];
  if (letter) {
    int folded = kind == F_CAPITAL ? byte | 32 : byte;
    row[F_WORD] = joined(was_letter ? word : 0, folded + 1);
  } else {
    if (was_letter) {
      row[F_WORD3] = row[F_WORD2], row[F_WORD2] = row[F_WORD1], row[F_WORD1] = word;
      row[F_WORD] = 0;
    }
    row[F_GAP] = joined(was_letter ? 0 : gap, byte);
  }
  row[F_LAST_KIND] = letter ? F_LETTER : kind;
  row[F_KINDS] = (row[F_KINDS] << 3 | kind) & 0x3FFFFFFF;
  // Numbers and words shrink to their kind; marks stay as they are.
  bool digit = kind == F_DIGIT;
  row[F_DIGITS] = digit ? min(row[F_DIGITS] + 1, (i64)15) : 0;
  row[F_NUMBER] = digit ? joined(row[F_NUMBER], byte) : byte;
  int token = letter || digit ? kind : byte;
  if (token != (shape & 255)) row[F_SHAPE] = (u32)shape << 8 | token;
}

__device__ void observe_lines(
    i64* row, const unsigned char* past, i64 start, i64 position, int byte, int kind) {
  i64 line = row[F_LINE], line_before = row[F_LINE_BEFORE], column = 0;
  if (byte == '\n') {
    row[F_LINE_BEFORE] = line_before = line;
    row[F_LINE] = line = position + 1;
    row[F_FIELD] = row[F_FIELD_START] = row[F_FIELD_AT] = 0;
    row[F_LINE_START] = row[F_INDENT] = 0;
  } else {
    column = row[F_COLUMN] + 1;
    if (ends_field(byte)) {
      row[F_FIELD]++;
      row[F_FIELD_START] = byte, row[F_FIELD_AT] = 0;
    } else {
      i64 at = row[F_FIELD_AT] + 1;
      row[F_FIELD_AT] = at;
      if (at <= 4) row[F_FIELD_START] = joined(row[F_FIELD_START], byte);
    }
    if (column <= 4) row[F_LINE_START] = joined(row[F_LINE_START], byte);
    if (kind == F_SPACE && row[F_INDENT] == column - 1) row[F_INDENT] = column;
  }
  row[F_COLUMN] = column;
  i64 above = line_before + column;
  bool is = line > line_before && above < line;
  row[F_ABOVE] = is ? past[above] : 0;
  row[F_ABOVE_NEXT] = is && above + 1 < line ? past[above + 1] : 0;
  row[F_ABOVE_BEFORE] = is && above > start ? past[above - 1] : 0;
}

__device__ void observe_nesting(i64* row, int byte, int kind) {
  i64* stack = row + F_STACK;
  int depth = (int)row[F_DEPTH];
  if (byte == '(' || byte == '[' || byte == '{' || byte == '<') {
    stack[(u32)depth % F_STACK_SIZE] = byte == '<' ? byte : joined(row[F_KEY], byte);
    depth = min(depth + 1, 1 << 20);
  } else if (byte == ')' || byte == ']' || byte == '}' || byte == '>') {
    depth = max(depth - 1, 0);
  }
  row[F_DEPTH] = depth;
  i64 nest = depth & 255;
  if (depth >= 1) nest = joined(nest, stack[(u32)(depth - 1) % F_STACK_SIZE]);
  if (depth >= 2) nest = joined(nest, stack[(u32)(depth - 2) % F_STACK_SIZE]);
  row[F_NEST] = nest;
  // The last name before one of these marks: an XML tag, a JSON key, a variable.
  i64 tag = row[F_TAG];
  bool ends = kind == F_SPACE || kind == F_NEWLINE || byte == '>';
  if (tag & 1) tag = ends ? tag & ~(i64)1 : joined(tag, byte) | 1;
  row[F_TAG] = byte == '<' ? 1 : tag;
  if (byte == ':' || byte == '=')
    row[F_KEY] = row[F_LAST_KIND] == F_LETTER ? row[F_WORD] : row[F_WORD1];
}

// Features from `text` on, of the field (or cell) of this number in the line before. ends: whether
// the byte ended one; offset: bytes of it so far.
__device__ void align_field(i64* row, const unsigned char* past, i64 position, int byte, bool ends,
                            int starts, i64 number, i64 offset, int text) {
  int like = text + 2, relation = text + 4;
  i64 *own = row + starts, *before = own + F_MOST_FIELDS;
  i64 relations = row[relation];
  if (byte == '\n') {
    // Eight reads at a time wait together; more would take too many registers.
    for (int first = 0; first < F_MOST_FIELDS; first += 8) {
      i64 begun[8];
#pragma unroll
      for (int k = 0; k < 8; k++) begun[k] = own[first + k];
#pragma unroll
      for (int k = 0; k < 8; k++) before[first + k] = begun[k], own[first + k] = 0;
    }
  }
  if (byte == '\n' || ends) {
    row[text + 1] = row[text], row[text] = byte;
    relations = relations << 3 & 0x1FF;
    if (number < F_MOST_FIELDS) own[number] = position + 1;
  } else {
    row[text] = joined(row[text], byte + 1);
    if ((relations & 7) == 0) relations |= difference(byte - row[like]);
  }
  row[relation] = relations;
  i64 start = number < F_MOST_FIELDS ? before[number] : 0, at = start + offset;
  i64 next = number + 1 < F_MOST_FIELDS ? before[number + 1] : 0;
  i64 last = (next ? next : row[F_LINE]) - 1;
  row[like] = start ? past[min(at, last)] : 0;
  row[like + 1] = start ? past[min(at + 1, last)] : 0;
}

__device__ void observe_fields(i64* row, const unsigned char* past, i64 position, int byte) {
  align_field(row, past, position, byte, ends_field(byte), F_FIELDS, row[F_FIELD], row[F_FIELD_AT],
              F_FIELD_TEXT);
  bool ends = ends_cell(byte);
  i64 cell = byte == '\n' ? 0 : row[F_CELL] + ends;
  i64 at = byte == '\n' || ends ? 0 : row[F_CELL_AT] + 1;
  row[F_CELL] = cell, row[F_CELL_AT] = at;
  align_field(row, past, position, byte, ends, F_CELLS, cell, at, F_CELL_TEXT);
  i64 head = row[F_HEAD];
  if (byte == '\n') {
    row[F_HEAD2] = row[F_HEAD1], row[F_HEAD1] = head;
    row[F_HEAD] = row[F_HEAD_DONE] = 0;
  } else if (!row[F_HEAD_DONE] && (byte != ' ' || head)) {
    row[F_HEAD] = joined(head, byte);
    row[F_HEAD_DONE] = byte == ' ' || byte == ':' || byte == '=' || byte == '>' || byte == ',';
  }
}

__device__ void observe_rows(
    i64* row, const unsigned char* past, i64 start, i64 position, int byte, int stride, int unit) {
  i64 here = position + 1, row_above = here - stride;
  u32 within = (u32)(here - start);
  int above = byte_of(past, row_above, start), corner = byte_of(past, row_above - unit, start);
  int left = byte_of(past, here - unit, start), second = byte_of(past, here - 2 * (i64)unit, start);
  row[F_RESIDUE] = within % (u32)stride;
  row[F_CHANNEL] = within % (u32)unit;
  row[F_ROW1] = above;
  row[F_ROW2] = byte_of(past, row_above - stride, start);
  row[F_ROW_NEXT] = unit < stride ? byte_of(past, row_above + unit, start) : 0;
  row[F_ROW_BEFORE] = corner;
  row[F_LEFT] = left;
  row[F_MEAN] = (left + above) >> 1;
  row[F_SLOPE] = min(max(2 * left - second, 0), 255);
  // By how much the last byte, another channel of this pixel, missed what it was taken for.
  row[F_ERROR] = (byte - row[F_PLANE]) & 255;
  row[F_PLANE] = min(max(left + above - corner, 0), 255);
}

// Renews what a lane's own bytes tell.
__device__ void observe_alone(const Memory& m, int lane, i64 position) {
  i64* row = row_of(m, lane);
  const unsigned char* past = m.past;
  i64 start = m.starts[lane];
  int stride = m.stride, unit = m.unit, byte = past[position], kind = (int)m.kinds[byte];
  observe_bytes(row, byte);
  observe_words(row, byte, kind);
  observe_lines(row, past, start, position, byte, kind);
  observe_nesting(row, byte, kind);
  if (m.fully) observe_fields(row, past, position, byte);
  observe_rows(row, past, start, position, byte, stride, unit);
}

// A chain of bytes that followed something: each thread appends to it those of the threads of its
// group up to itself. mask: of the bytes that are kept.
__device__ u32 appended(u32 chain, u32 group, int byte, u32 mask, int thread) {
  for (int k = 0; k < 32; k++) {
    u32 other = __shfl_sync(ALL, byte, k);
    if (k <= thread && group >> k & 1) chain = (chain << 8 | other) & mask;
  }
  return chain;
}

// What is in a table after the threads up to this one have written: the last to do so at `at`.
__device__ u32 after_writes(const i64* table, bool is, int at, int written_at, u32 written,
                            int thread) {
  u32 found = is ? (u32)table[at] : 0;
  for (int k = 0; k < 32; k++) {
    int place = __shfl_sync(ALL, is ? written_at : -1, k);
    u32 value = __shfl_sync(ALL, written, k);
    if (k <= thread && place == at) found = value;
  }
  return found;
}

// A warp renews what followed the last byte, and the last two, of all lanes, in their order. The
// rows' bytes may be new or old by now.
__device__ void observe_after(const Memory& m, i64 t, int lanes, int thread) {
  for (int first = 0; first < lanes; first += 32) {
    int lane = first + thread, byte = 0, before = 0, pair = 0;
    bool is = lane < lanes;
    if (is) {
      i64 start = m.starts[lane], position = start + t;
      byte = m.past[position], before = byte_of(m.past, position - 1, start);
      pair = byte_of(m.past, position - 2, start) << 8 | before;
    }
    int next = before << 8 | byte;
    u32 same1 = __match_any_sync(ALL, is ? before : -1);
    u32 same2 = __match_any_sync(ALL, is ? pair : -1);
    u32 chain1 = is ? (u32)m.after1[before] : 0, chain2 = is ? (u32)m.after2[pair] : 0;
    chain1 = appended(chain1, same1, byte, 0xFFFFFF, thread);
    chain2 = appended(chain2, same2, byte, 0xFFFF, thread);
    u32 found1 = after_writes(m.after1, is, byte, before, chain1, thread);
    u32 found2 = after_writes(m.after2, is, next, pair, chain2, thread);
    __syncwarp();
    if (is) {
      if (same1 >> thread == 1) m.after1[before] = chain1;
      if (same2 >> thread == 1) m.after2[pair] = chain2;
      i64* row = row_of(m, lane);
      row[F_AFTER1] = found1, row[F_AFTER2] = found2;
    }
    __syncwarp();
  }
}
