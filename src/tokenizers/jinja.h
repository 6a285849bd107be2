#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizers/jinja_syntax.h"
#include "tokenizers/jinja_value.h"

/// Jinja 3.1, as much of it as published chat templates use: every expression, test and filter that
/// works on text, numbers, lists and dicts; for, if, set, macro, call, filter, with, raw, and the
/// generation blocks of Transformers. Blocks are trimmed as Transformers sets it (trim_blocks,
/// lstrip_blocks), nothing is escaped, and lists and dicts cannot be changed. No include, import or
/// inheritance: a template is one text.
namespace headscope::jinja {

/// A template, immutable and safe to share among threads.
class Template {
 public:
  /// `name` is what errors call it. Errors: kInput with the line, kUnsupported, kResources.
  Template(std::string_view source, std::string name, const Limits& limits = {});

  /// Errors: kInput (the template's own raise_exception too), kUnsupported, kResources past the
  /// limits; each says the line. `now` is the time of strftime_now, the clock's by default.
  [[nodiscard]] std::string render(const Dict& variables,
                                   const std::optional<std::tm>& now = std::nullopt) const;

 private:
  std::string name_;
  Limits limits_;
  Body body_;
};

}  // namespace headscope::jinja
