#pragma once

#include <memory>
#include <string_view>

#include "formats/json.h"
#include "headscope/tokenizer.h"

namespace headscope::tokenizers {

/// Appends the tokens of one encoding to another.
void append(Encoding& out, Encoding more);

/// How white space at the ends of a token is left out of its offsets.
struct TrimOffsets {
  bool on = false;
  bool prefix_space = false;  ///< one space before the first token was put there, and stays
};

/// The part that joins one or two encoded texts and puts special tokens around them.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  /// `second` is nullptr for a single text, or else taken. Without `add_special` only the texts
  /// remain.
  [[nodiscard]] virtual Encoding join(Encoding first, Encoding* second, bool add_special) const = 0;
  /// Whether offsets leave out the white space around their tokens.
  [[nodiscard]] virtual TrimOffsets trim() const { return {}; }
  /// Whether join does more than to put one text behind the other.
  [[nodiscard]] virtual bool joins() const { return true; }
};

/// The "post_processor" of a tokenizer.json: BertProcessing, ByteLevel, RobertaProcessing, Sequence
/// (in which at most one puts tokens around texts), TemplateProcessing.
/// Errors: kFormat, kUnsupported.
std::unique_ptr<const PostProcessor> make_post_processor(const json::Value& part,
                                                         std::string_view where);

}  // namespace headscope::tokenizers
