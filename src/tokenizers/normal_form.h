#pragma once

#include "tokenizers/aligned_text.h"

namespace headscope::tokenizers {

enum class NormalForm { kNfd, kNfc, kNfkd, kNfkc };

/// Rewrites the text in a Unicode normal form. What a character decomposes into points at that
/// character; marks that change places take over each other's bytes, in order, as in Hugging Face
/// tokenizers (offsets never go backwards).
/// Cost: O(T log m), m the longest run of marks. Source: UAX #15; Hangul by arithmetic.
void normalize(AlignedText& text, NormalForm form);

}  // namespace headscope::tokenizers
