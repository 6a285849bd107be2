#pragma once

#include <span>
#include <string>
#include <string_view>

namespace headscope::tokenizers {

/// How a byte-level vocabulary of a GGUF file splits text, by the name in tokenizer.ggml.pre: the
/// regexes of the tokenizer.json it was made from, one behind the other.
struct GgufPattern {
  std::string_view names;  ///< one or more, each between spaces
  std::span<const std::string_view> regexes;
  bool ignore_merges = false;
  bool add_bos = false;
};

/// The name of a way to split: the first of those with exactly these regexes; "" when there is none.
std::string_view gguf_pattern_name(std::span<const std::string> regexes, bool ignore_merges);
/// What a ByteLevel pre-tokenizer splits by when it is not told otherwise.
std::string_view gpt2_regex();

/// Errors: kUnsupported, naming all that are known.
const GgufPattern& gguf_pattern(std::string_view pre, std::string_view where);

}  // namespace headscope::tokenizers
