#pragma once

#include <span>
#include <string>

#include "headscope/train.h"
#include "models/blueprint.h"

/// Where the weight of `output` meets what one head found.
namespace headscope::doctor {

/// Columns of [C,H*Dv] or rows of [H*Dv,C], as the family's file lays it.
struct OutputPart {
  std::int64_t row = 0, rows = 0, column = 0, columns = 0;

  /// f(i, j) of every number.
  template <typename F>
  void each(F&& f) const {
    for (std::int64_t i = row; i < row + rows; ++i) {
      for (std::int64_t j = column; j < column + columns; ++j) f(i, j);
    }
  }
};

/// Shapes  `shape` of the weight as it lies in the file.
inline OutputPart output_part(const Shape& shape,
                              Linear::Layout layout,
                              std::int64_t head,
                              std::int64_t value_width) {
  if (layout == Linear::Layout::kOutIn) return {0, shape.front(), head * value_width, value_width};
  return {head * value_width, value_width, 0, shape.back()};
}

/// The parameter of this name, with or without the family's prefix; nullptr where there is none.
inline train::Parameter* parameter_of(std::span<train::Parameter> parameters,
                                      const models::Blueprint& b,
                                      const std::string& name) {
  for (train::Parameter& p : parameters) {
    if (p.name == name) return &p;
    for (const std::string& prefix : b.prefixes) {
      if (p.name == prefix + name) return &p;
    }
  }
  return nullptr;
}

}  // namespace headscope::doctor
