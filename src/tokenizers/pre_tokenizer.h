#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "tokenizers/aligned_text.h"

namespace headscope::tokenizers {

/// A text and the words it has been split into so far, in order, none empty. What lies between
/// words belongs to none.
struct Words {
  AlignedText text;
  std::vector<Span> spans;
};

/// The part that splits a normalised text into words, which the model sees one by one. It may
/// split the spans further, drop some, or rewrite the text together with its spans.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(Words& words) const = 0;
};

/// The "pre_tokenizer" of a tokenizer.json: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits,
/// FixedLength, Metaspace, Punctuation, Sequence, Split, UnicodeScripts, Whitespace,
/// WhitespaceSplit. Errors: kFormat, kUnsupported.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const json::Value& part,
                                                       std::string_view where);

}  // namespace headscope::tokenizers
