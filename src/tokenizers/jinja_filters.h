#pragma once

#include <string_view>

#include "tokenizers/jinja_run.h"

/// What stands behind |, in two tables: filters of one value, and those that work on many.
namespace headscope::jinja {

struct Filter {
  std::string_view name;
  std::string_view parameters;
  Value (*body)(Run&, const Value&, const Bound&);
};

/// nullptr when there is none of that name.
const Filter* find_text_filter(std::string_view name);
const Filter* find_list_filter(std::string_view name);

}  // namespace headscope::jinja
