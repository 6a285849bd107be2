#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "headscope/attention.h"
#include "kernels/focus_task.h"

namespace headscope {

/// Fills a FocusRecord while `focus` runs: hands every task its rows, and joins what tasks summed.
class Recorder {
 public:
  /// Allocates the record's tensors for what `sight` asks, and keeps q, k and the options if
  /// wanted.
  template <typename T>
  Recorder(const FocusInputOf<T>& in, const Sight& sight, FocusRecord& record);

  [[nodiscard]] int top_k() const { return sight_.top_k; }
  [[nodiscard]] bool wants_maps() const {
    return !record_.column_mass.empty() || !record_.pooled_mean.empty();
  }

  /// The key/value head (b * G + g) of every task, those of one head side by side. With `early` what the
  /// tasks of a head summed is joined, and its memory given back, as soon as the last of them is done.
  void expect(std::vector<std::int64_t> groups, bool early);
  /// Points the records of a task's query heads [h, h + heads) to where their rows go.
  void attach_rows(std::int64_t b,
                   std::int64_t h,
                   const kernels::FocusTask& task,
                   std::span<kernels::HeadTask> heads);
  /// Makes room for what task n sums over its rows. Thread-safe for different n.
  void attach_sums(std::size_t n,
                   std::int64_t b,
                   std::int64_t h,
                   const kernels::FocusTask& task,
                   std::span<kernels::HeadTask> heads);
  void done(std::size_t n);
  /// Adds what is left of the partial sums in the order of the tasks and copies lse.
  void join(View<const float, 3> lse);

 private:
  // What one task sums for one head.
  struct Partial {
    std::int64_t b = 0;
    std::int64_t slot = 0;
    std::int64_t key = 0;         // where column_mass begins
    std::int64_t first_cell = 0;  // row of the map where pooled_sum begins
    std::vector<float> column_mass;
    std::vector<float> pooled_sum;
    std::vector<float> pooled_max;
  };

  template <typename T>
  void keep(const FocusInputOf<T>& in);
  void allocate();
  void join_partials(std::vector<Partial>& partials);
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
  std::vector<std::vector<Partial>> partials_;         // of every task
  std::vector<std::int64_t> groups_;                   // of every task
  std::unique_ptr<std::atomic<std::int64_t>[]> left_;  // tasks of every group still to be done
  bool early_ = true;
};

}  // namespace headscope
