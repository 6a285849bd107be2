#pragma once

#include <cstdint>
#include <string>

namespace headscope {

/// One element of the sequence as a person reads it.
struct Label {
  std::string text;        ///< "молодо", "##му", "[CLS]", "patch 3,0", "C5 beat 3, soprano"
  std::int64_t begin = 0;  ///< bytes [begin, end) of the input text; equal: not from the text
  std::int64_t end = 0;
  std::int64_t word = -1;  ///< which word of the text it is a piece of; -1: none (special)
  bool special = false;
  /// Where it lies in what is no text, -1: nowhere. Of a picture the patch; of music the voice (row) and the step
  /// (column); of a table its row and column.
  int frame = -1, row = -1, column = -1;
};

}  // namespace headscope
