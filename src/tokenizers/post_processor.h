#pragma once

#include <memory>
#include <string_view>

#include "formats/json.h"
#include "headscope/tokenizer.h"

namespace headscope::tokenizers {

/// Appends the tokens of one encoding to another.
void append(Encoding& out, const Encoding& more);

/// The part that joins one or two encoded texts and puts special tokens around them.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  /// `second` is nullptr for a single text. Without `add_special` only the texts remain.
  [[nodiscard]] virtual Encoding join(const Encoding& first,
                                      const Encoding* second,
                                      bool add_special) const = 0;
};

/// The "post_processor" of a tokenizer.json: BertProcessing, TemplateProcessing.
/// Errors: kFormat, kUnsupported.
std::unique_ptr<const PostProcessor> make_post_processor(const json::Value& part,
                                                         std::string_view where);

}  // namespace headscope::tokenizers
