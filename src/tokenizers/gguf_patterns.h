#pragma once

#include <span>
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

/// Errors: kUnsupported, naming all that are known.
const GgufPattern& gguf_pattern(std::string_view pre, std::string_view where);

}  // namespace headscope::tokenizers
