// Whatever the bytes, a table is refused with an Error or has as many cells in each column as rows.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "headscope/error.h"
#include "headscope/table.h"
#include "law.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headscope;
  try {
    const Table table = parse_csv({reinterpret_cast<const char*>(data), size}, "fuzz");
    law(!table.rows.empty() && table.rows.size() <= size, "rows are no more than bytes");
    for (const Table::Column& column : table.columns) {
      law(column.values.size() == table.rows.size(), "every row has a cell");
      for (const double x : column.values) law(!std::isinf(x), "numbers are finite");
    }
    const NumberCode code;
    const Numbers numbers = ids_of(table, columns_of(table, {}), code);
    for (const std::int32_t id : numbers.ids)
      law(id >= 0 && id < code.vocabulary(), "ids are those of the code");
    law(numbers.labels.size() == numbers.ids.size(), "every id has a label");
  } catch (const Error& error) {
    law(std::string(error.what()).find('\n') == std::string::npos, "an Error is one line");
  }
  return 0;
}
