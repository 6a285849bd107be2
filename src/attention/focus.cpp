#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "attention/focus_plan.h"
#include "attention/record.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

using kernels::FocusTask;

// Rows of one head that one thread takes together.
struct Piece {
  std::int64_t b = 0;
  std::int64_t h = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
};

// Cuts the heads' rows into pieces by shapes alone, so that sums over rows join in the same order
// on any number of threads. Sixteen pieces a head bound the memory of partial sums.
std::vector<Piece> cut(const FocusInput& in, std::int64_t block) {
  const auto [B, H, Tq, D] = in.q.shape;
  constexpr std::int64_t kPieces = 16;
  const std::int64_t blocks = (Tq + block - 1) / block;
  const std::int64_t rows = std::max<std::int64_t>(1, (blocks + kPieces - 1) / kPieces) * block;
  std::vector<Piece> pieces;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < Tq; i += rows)
        pieces.push_back({b, h, i, std::min(i + rows, Tq)});
    }
  }
  return pieces;
}

// A buffer that each thread keeps from task to task.
float* scratch(std::size_t floats) {
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<float, Free> buffer;
  thread_local std::size_t size = 0;
  if (floats > size) {
    buffer.reset();
    size = 0;
    const std::size_t bytes = (floats * sizeof(float) / 64 + 1) * 64;
    buffer.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (buffer == nullptr) throw Error(ErrorCode::kResources, "[focus] no memory for scratch");
    size = floats;
  }
  return buffer.get();
}

// Keys or values with rows side by side. Out of a projection they lie a whole row of qkv apart, a
// stride that maps them onto few sets of the first cache. O(Tk) numbers a head, copied once for all rows.
Tensor pack(const View<const float, 4>& from) {
  const std::int64_t G = from.shape[1];
  const std::int64_t T = from.shape[2];
  const std::int64_t D = from.shape[3];
  Tensor to(DType::kF32, {from.shape[0], G, T, D});
  const auto rows = to.view<float, 4>();
  parallel_for(from.shape[0] * G, [&](std::int64_t n) {
    for (std::int64_t j = 0; j < T && D > 0; ++j) {
      std::memcpy(&rows(n / G, n % G, j, 0),
                  &from(n / G, n % G, j, 0),
                  static_cast<std::size_t>(D) * sizeof(float));
    }
  });
  return to;
}

void run(const kernels::Table& table,
         const FocusInput& in,
         const FocusOutput& out,
         Recorder* recorder) {
  const std::vector<Piece> pieces = cut(in, table.focus_rows);
  const auto [B, H, Tq, D] = in.q.shape;
  Tensor own_lse = out.lse.data == nullptr ? Tensor(DType::kF32, {B, H, Tq}) : Tensor();
  const View<float, 3> lse = out.lse.data == nullptr ? own_lse.view<float, 3>() : out.lse;
  if (recorder != nullptr) recorder->expect(pieces.size());
  parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t n) {
    const Piece& piece = pieces[static_cast<std::size_t>(n)];
    FocusTask task = task_of(in, piece.b, piece.h);
    task.row_begin = piece.row_begin;
    task.row_end = piece.row_end;
    task.out = out.out[piece.b][piece.h].data;
    task.out_stride = out.out.stride[2];
    task.lse = lse[piece.b][piece.h].data;
    if (recorder != nullptr) recorder->attach(static_cast<std::size_t>(n), piece.b, piece.h, task);
    task.scratch = scratch(table.focus_scratch(task));
    table.focus(task);
  });
  if (recorder != nullptr) recorder->join(lse);
}

void focus_with(const kernels::Table& table,
                FocusInput in,
                const FocusOutput& out,
                const Sight* sight,
                FocusRecord* record) {
  check_focus(in, &out, sight);
  constexpr std::int64_t kWorthwhile = 64;  // rows that share the copy
  Tensor keys;
  Tensor values;
  if (in.q.shape[2] >= kWorthwhile && in.k.stride[2] != in.k.shape[3]) {
    keys = pack(in.k);
    in.k = keys.view<float, 4>();
  }
  if (in.q.shape[2] >= kWorthwhile && in.v.stride[2] != in.v.shape[3]) {
    values = pack(in.v);
    in.v = values.view<float, 4>();
  }
  if (sight == nullptr || record == nullptr) return run(table, in, out, nullptr);
  Recorder recorder(in, *sight, *record);
  run(table, in, out, &recorder);
}

Tensor widen(const View<const bf16, 4>& from) {
  Tensor to(DType::kF32, Shape(from.shape.begin(), from.shape.end()));
  const auto rows = to.view<float, 4>();
  parallel_for(from.shape[0] * from.shape[1], [&](std::int64_t n) {
    const auto in = from[n / from.shape[1]][n % from.shape[1]];
    const auto row = rows[n / from.shape[1]][n % from.shape[1]];
    for (std::int64_t j = 0; j < from.shape[2]; ++j) {
      for (std::int64_t d = 0; d < from.shape[3]; ++d) row(j, d) = to_f32(in(j, d));
    }
  });
  return to;
}

void focus_with(const kernels::Table& table,
                const FocusInputOf<bf16>& in,
                const FocusOutputOf<bf16>& out,
                const Sight* sight,
                FocusRecord* record) {
  check_focus(in, &out, sight);
  const Tensor q = widen(in.q);
  const Tensor k = widen(in.k);
  const Tensor v = widen(in.v);
  Tensor wide(DType::kF32, Shape(out.out.shape.begin(), out.out.shape.end()));
  const auto z = wide.view<float, 4>();
  focus_with(table,
             {q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), in.options},
             {z, out.lse},
             sight,
             record);
  for (std::int64_t b = 0; b < z.shape[0]; ++b) {
    for (std::int64_t h = 0; h < z.shape[1]; ++h) {
      for (std::int64_t i = 0; i < z.shape[2]; ++i) {
        for (std::int64_t c = 0; c < z.shape[3]; ++c) out.out(b, h, i, c) = to_bf16(z(b, h, i, c));
      }
    }
  }
}

}  // namespace

void focus(const FocusInputOf<bf16>& in,
           const FocusOutputOf<bf16>& out,
           const Sight* sight,
           FocusRecord* record) {
  focus_with(kernels::table(), in, out, sight, record);
}

void focus_reference(const FocusInputOf<bf16>& in,
                     const FocusOutputOf<bf16>& out,
                     const Sight* sight,
                     FocusRecord* record) {
  focus_with(kernels::scalar_table(), in, out, sight, record);
}

void focus(const FocusInput& in, const FocusOutput& out, const Sight* sight, FocusRecord* record) {
  focus_with(kernels::table(), in, out, sight, record);
}

void focus_reference(const FocusInput& in,
                     const FocusOutput& out,
                     const Sight* sight,
                     FocusRecord* record) {
  focus_with(kernels::scalar_table(), in, out, sight, record);
}

}  // namespace headscope
