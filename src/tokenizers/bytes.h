#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tokenizers/aligned_text.h"

namespace headscope::tokenizers {

/// Byte-level vocabularies write each byte as a printable character: itself where it is one, or
/// else one from U+0100 on, in order (a space is U+0120).
const std::array<char32_t, 256>& byte_characters();
/// The byte that a character stands for, -1 when it stands for none.
int byte_of(char32_t c);

/// Writes a text, and the spans of it, in such characters. All bytes of a character stand for the
/// whole of it. What lies outside of the spans is dropped.
void write_as_bytes(AlignedText& text, std::vector<Span>& spans);

}  // namespace headscope::tokenizers
