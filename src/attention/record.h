#pragma once

#include <cstdint>
#include <vector>

#include "headscope/attention.h"
#include "kernels/focus_task.h"

namespace headscope {

/// Fills a FocusRecord while `focus` runs: hands every task its rows, and joins what tasks summed.
class Recorder {
 public:
  /// Allocates the record's tensors for what `sight` asks, and keeps q, k and the options if
  /// wanted.
  Recorder(const FocusInput& in, const Sight& sight, FocusRecord& record);

  /// Makes room for `tasks` tasks.
  void expect(std::size_t tasks);
  /// Points the record of task `n` (rows row_begin..row_end of head h) to where it writes.
  /// Thread-safe for different n.
  void attach(std::size_t n, std::int64_t b, std::int64_t h, kernels::FocusTask& task);
  /// Adds the partial sums in the order of the tasks and copies lse.
  void join(View<const float, 3> lse);

 private:
  struct Partial {
    std::int64_t b = 0;
    std::int64_t slot = -1;  // -1: nobody looks at this head
    std::int64_t row_begin = 0;
    std::int64_t row_end = 0;
    std::vector<float> column_mass;
    std::vector<float> pooled_sum;
    std::vector<float> pooled_max;
  };

  void keep(const FocusInput& in);
  void join_pooled(const Partial& partial);

  // Options may come from the record itself: what they point to lives on until the call is over.
  std::vector<std::shared_ptr<const Tensor>> before_;
  const Sight& sight_;
  FocusRecord& record_;
  std::vector<std::int64_t> slot_of_;  // [H]
  std::int64_t rows_per_cell_ = 1;
  std::int64_t keys_per_cell_ = 1;
  std::int64_t cell_rows_ = 0;  // rows of the pooled map
  std::int64_t cell_columns_ = 0;
  std::vector<Partial> partials_;
};

}  // namespace headscope
