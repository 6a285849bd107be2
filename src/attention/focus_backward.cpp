// Step 3, backward (Dao 2023 Alg. 2): checks, the cut into tasks, and what is done once a row.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "attention/focus_plan.h"
#include "headscope/threads.h"
#include "kernels/backward_task.h"

namespace headscope {

namespace {

using kernels::BackwardTable;
using kernels::BackwardTask;
using kernels::padded;

template <typename T, std::size_t N>
void check_view(const char* what,
                const T* data,
                const std::array<std::int64_t, N>& shape,
                const std::array<std::int64_t, N>& stride,
                const std::array<std::int64_t, N>& expected) {
  if (shape != expected) {
    throw Error(ErrorCode::kShape,
                fmt::format("[focus_backward] expected {} {}, found {}",
                            what,
                            to_string(expected),
                            to_string(shape)));
  }
  const bool any = std::find(shape.begin(), shape.end(), 0) == shape.end();
  if (any && data == nullptr) {
    throw Error(ErrorCode::kShape,
                fmt::format("[focus_backward] expected {} {} to be given, found no data",
                            what,
                            to_string(expected)));
  }
  if (shape[N - 1] > 1 && stride[N - 1] != 1) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[focus_backward] expected the last axis of {} contiguous, found stride {}",
                    what,
                    stride[N - 1]));
  }
}

template <typename T, std::size_t N, int M>
void check_view(const char* what,
                const View<T, M>& view,
                const std::array<std::int64_t, N>& expected) {
  check_view<T, N>(what, view.data, view.shape, view.stride, expected);
}

template <typename T>
void check(const FocusGradientInputOf<T>& in, const FocusGradientOf<T>& out) {
  const FocusInputOf<T>& f = in.forward;
  check_focus(f, static_cast<const FocusOutputOf<T>*>(nullptr), nullptr);
  const auto [B, H, Tq, D] = f.q.shape;
  const std::array<std::int64_t, 4> found{B, H, Tq, f.v.shape[3]};
  const std::array<std::int64_t, 3> rows{B, H, Tq};
  check_view("out", in.out, found);
  check_view("dout", in.dout, found);
  check_view("lse", in.lse, rows);
  if (in.dlse.data != nullptr) check_view("dlse", in.dlse, rows);
  check_view("dq", out.dq, f.q.shape);
  check_view("dk", out.dk, f.k.shape);
  check_view("dv", out.dv, f.v.shape);
  const auto need = [](const char* gradient, const char* option, bool given) {
    if (given) return;
    throw Error(ErrorCode::kUsage,
                fmt::format("[focus_backward] expected {} only with {}, found a call without {}",
                            gradient,
                            option,
                            option));
  };
  if (out.dbias.data != nullptr) {
    need("dbias", "bias", f.options.bias.data != nullptr);
    check_view("dbias", out.dbias, f.options.bias.shape);
  }
  if (out.dsinks.data != nullptr) {
    need("dsinks", "sinks", f.options.sinks.data != nullptr);
    check_view("dsinks", out.dsinks, std::array{H});
  }
}

// f32 numbers of a view: the view itself, or a widened copy that `owner` keeps.
View<const float, 4> as_f32(const View<const float, 4>& from, Tensor&) { return from; }
View<const float, 4> as_f32(const View<const bf16, 4>& from, Tensor& owner) {
  owner = Tensor(DType::kF32, Shape(from.shape.begin(), from.shape.end()));
  const auto to = owner.view<float, 4>();
  parallel_for(from.shape[0] * from.shape[1], [&](std::int64_t n) {
    const auto a = from[n / from.shape[1]][n % from.shape[1]];
    const auto b = to[n / from.shape[1]][n % from.shape[1]];
    for (std::int64_t i = 0; i < a.shape[0]; ++i) {
      for (std::int64_t d = 0; d < a.shape[1]; ++d) b(i, d) = to_f32(a(i, d));
    }
  });
  return std::as_const(owner).view<float, 4>();
}

// Where f32 results go: the view itself, or a tensor that is rounded into it at the end.
View<float, 4> f32_room(const View<float, 4>& to, Tensor&) { return to; }
View<float, 4> f32_room(const View<bf16, 4>& to, Tensor& owner) {
  owner = Tensor(DType::kF32, Shape(to.shape.begin(), to.shape.end()));
  return owner.view<float, 4>();
}
void put(float from, float& to) { to = from; }
void put(float from, bf16& to) { to = to_bf16(from); }

void round_into(const View<float, 4>&, const Tensor&) {}
void round_into(const View<bf16, 4>& to, const Tensor& from) {
  const auto a = from.view<float, 4>();
  parallel_for(to.shape[0] * to.shape[1], [&](std::int64_t n) {
    const std::int64_t b = n / to.shape[1];
    const std::int64_t h = n % to.shape[1];
    for (std::int64_t i = 0; i < to.shape[2]; ++i) {
      for (std::int64_t d = 0; d < to.shape[3]; ++d) put(a(b, h, i, d), to(b, h, i, d));
    }
  });
}

// Rows and keys that only see each other: one batch element, or one sequence of a packed batch.
struct Part {
  std::int64_t b = 0;
  std::int64_t row = 0, rows = 0;
  std::int64_t key = 0, keys = 0;
};

std::vector<Part> parts_of(const FocusOptions& o,
                           std::int64_t B,
                           std::int64_t Tq,
                           std::int64_t Tk) {
  std::vector<Part> parts;
  for (const Sequence& s : sequences_of(o, Tq, Tk)) {
    for (std::int64_t b = 0; b < B; ++b) parts.push_back({b, s.row, s.rows, s.key, s.keys});
  }
  return parts;
}

// One gradient of the whole call, in f32.
class Backward {
 public:
  Backward(const BackwardTable& table,
           const FocusInput& forward,
           View<const float, 4> dout,
           const FocusGradient& out)
      : table_(table),
        in_(forward),
        dout_(dout),
        out_(out),
        parts_(
            parts_of(forward.options, forward.q.shape[0], forward.q.shape[2], forward.k.shape[2])) {
    const auto [B, H, Tq, D] = in_.q.shape;
    group_ = H / in_.k.shape[1];
    cut();
    rows_ = Tensor(DType::kF32, {2, B, H, Tq});
    // Uninitialised: each task sets all rows of its part, and parts cover all rows.
    dq_ = Tensor(DType::kF32, {pieces_, B, H, Tq, padded(D)});
  }

  // lse and delta_i = dout_i . out_i - dlse_i of every row, and dsinks.
  template <typename T>
  void prepare(const FocusGradientInputOf<T>& in) {
    const std::int64_t B = in.out.shape[0];
    const std::int64_t H = in.out.shape[1];
    const std::int64_t Tq = in.out.shape[2];
    const std::int64_t Dv = in.out.shape[3];
    const auto lse = rows_.view<float, 4>()[0];
    const auto delta = rows_.view<float, 4>()[1];
    parallel_for(H, [&](std::int64_t h) {
      double dsink = 0.0;
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t i = 0; i < Tq; ++i) {
          double sum = in.dlse.data == nullptr ? 0.0 : -static_cast<double>(in.dlse(b, h, i));
          for (std::int64_t c = 0; c < Dv; ++c)
            sum += static_cast<double>(wide(in.out(b, h, i, c))) *
                   static_cast<double>(dout_(b, h, i, c));
          const float l = in.lse(b, h, i);
          const bool blind = l == -std::numeric_limits<float>::infinity();
          delta(b, h, i) = static_cast<float>(sum);
          lse(b, h, i) = blind ? kernels::kBlindRow : l;
          if (out_.dsinks.data != nullptr && !blind)
            dsink -=
                std::exp(static_cast<double>(in_.options.sinks(h)) - static_cast<double>(l)) * sum;
        }
      }
      if (out_.dsinks.data != nullptr) out_.dsinks(h) = static_cast<float>(dsink);
    });
  }

  void run() {
    clear_dbias();
    parallel_for(static_cast<std::int64_t>(jobs_.size()), [&](std::int64_t n) {
      const Job& job = jobs_[static_cast<std::size_t>(n)];
      for (std::int64_t p = job.part_begin; p < job.part_end; ++p) {
        for (std::int64_t h = job.head_begin; h < job.head_end; ++h) {
          BackwardTask task = task_of(parts_[static_cast<std::size_t>(p)], h, job.piece);
          task.scratch = scratch(table_.scratch(task));
          table_.backward(task);
        }
      }
    });
  }

  // dq = scale * (sum of the pieces, in order).
  template <typename T>
  void join(const View<T, 4>& to) const {
    const auto [B, H, Tq, D] = to.shape;
    const float scale = scale_of();
    const auto from = dq_.view<float, 5>();
    parallel_for(B * H, [&, heads = H, rows = Tq, width = D](std::int64_t n) {
      const std::int64_t b = n / heads;
      const std::int64_t h = n % heads;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t d = 0; d < width; ++d) {
          float sum = from(0, b, h, i, d);
          for (std::int64_t p = 1; p < pieces_; ++p) sum += from(p, b, h, i, d);
          put(sum * scale, to(b, h, i, d));
        }
      }
    });
  }

 private:
  // What one thread does alone, one after the other: parts x heads, one piece of the keys of each.
  struct Job {
    std::int64_t part_begin = 0, part_end = 0;
    std::int64_t head_begin = 0, head_end = 0;
    std::int64_t piece = 0;
  };

  static float wide(float x) { return x; }
  static float wide(bf16 x) { return to_f32(x); }
  [[nodiscard]] float scale_of() const {
    return in_.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(in_.q.shape[3])));
  }

  // Cuts by shapes alone. What adds to the same numbers lies in one job: the heads of a group, and all
  // that share a bias whose gradient is wanted. Few jobs are cut along the keys, at most into 8 pieces:
  // each has its own dq until they are joined.
  void cut() {
    constexpr std::int64_t kJobs = 16;
    constexpr std::int64_t kPieces = 8;
    constexpr std::int64_t kKeys = 256;  // fewer are not worth a piece
    const auto n_parts = static_cast<std::int64_t>(parts_.size());
    const std::int64_t H = in_.q.shape[1];
    const bool bias = out_.dbias.data != nullptr;
    const bool packed = in_.options.cu_seqlens_q.data != nullptr;
    const std::int64_t part_step =
        bias && !packed && out_.dbias.shape[0] == 1 ? std::max<std::int64_t>(1, n_parts) : 1;
    const std::int64_t head_step = bias && out_.dbias.shape[1] == 1 ? H : group_;
    const std::int64_t units =
        std::max<std::int64_t>(1, (n_parts + part_step - 1) / part_step * (H / head_step));
    std::int64_t longest = 0;
    for (const Part& part : parts_) longest = std::max(longest, part.keys);
    if (table_.pieces) {
      pieces_ = std::min({kPieces, (kJobs + units - 1) / units, (longest + kKeys - 1) / kKeys});
      pieces_ = std::max<std::int64_t>(1, pieces_);
    }
    // The first piece is seen by most rows when attention is causal: longest jobs first.
    for (std::int64_t piece = 0; piece < pieces_; ++piece) {
      for (std::int64_t p = 0; p < n_parts; p += part_step) {
        for (std::int64_t h = 0; h < H; h += head_step)
          jobs_.push_back({p, std::min(p + part_step, n_parts), h, h + head_step, piece});
      }
    }
  }

  void clear_dbias() const {
    const View<float, 4>& x = out_.dbias;
    if (x.data == nullptr) return;
    for (std::int64_t b = 0; b < x.shape[0]; ++b) {
      for (std::int64_t h = 0; h < x.shape[1]; ++h) {
        for (std::int64_t i = 0; i < x.shape[2]; ++i) {
          for (std::int64_t j = 0; j < x.shape[3]; ++j) x(b, h, i, j) = 0.0F;
        }
      }
    }
  }

  // Element (row, key) of part, head h in a view like bias, and the step from row to row.
  template <typename T>
  static std::pair<T*, std::int64_t> bias_at(const View<T, 4>& x,
                                             const Part& part,
                                             std::int64_t h) {
    const auto step = [&](std::size_t axis) { return x.shape[axis] == 1 ? 0 : x.stride[axis]; };
    return {x.data + part.b * step(0) + h * step(1) + part.row * step(2) + part.key, step(2)};
  }

  [[nodiscard]] BackwardTask task_of(const Part& part, std::int64_t h, std::int64_t piece) {
    BackwardTask t;
    const std::int64_t g = h / group_;
    const auto at = [](const auto& view, std::int64_t b, std::int64_t head, std::int64_t i) {
      return view.data == nullptr
                 ? nullptr
                 : view.data + b * view.stride[0] + head * view.stride[1] + i * view.stride[2];
    };
    t.q = at(in_.q, part.b, h, part.row);
    t.k = at(in_.k, part.b, g, part.key);
    t.v = at(in_.v, part.b, g, part.key);
    t.dout = at(dout_, part.b, h, part.row);
    t.dk = at(out_.dk, part.b, g, part.key);
    t.dv = at(out_.dv, part.b, g, part.key);
    t.q_stride = in_.q.stride[2];
    t.k_stride = in_.k.stride[2];
    t.v_stride = in_.v.stride[2];
    t.dout_stride = dout_.stride[2];
    t.dk_stride = out_.dk.stride[2];
    t.dv_stride = out_.dv.stride[2];
    t.lse = &rows_.view<float, 4>()(0, part.b, h, part.row);
    t.delta = &rows_.view<float, 4>()(1, part.b, h, part.row);
    t.dq = &dq_.view<float, 5>()(piece, part.b, h, part.row, 0);
    t.add = h % group_ != 0;
    t.rows = part.rows;
    t.keys = part.keys;
    t.width = in_.q.shape[3];
    t.value_width = in_.v.shape[3];
    const std::int64_t length = ((part.keys + pieces_ - 1) / pieces_ + 127) / 128 * 128;
    t.key_begin = std::min(piece * length, part.keys);
    t.key_end = std::min(t.key_begin + length, part.keys);
    set_options(part, h, t);
    return t;
  }

  void set_options(const Part& part, std::int64_t h, BackwardTask& t) const {
    constexpr std::int64_t kFar = std::int64_t{1} << 40;  // larger windows mean the same
    const FocusOptions& o = in_.options;
    t.scale = scale_of();
    t.causal = o.causal;
    t.window_left = std::min(o.window_left, kFar);
    t.window_right = std::min(o.window_right, kFar);
    t.prefix = std::min(o.prefix, kFar);
    t.softcap = o.softcap;
    if (o.slopes.data != nullptr) t.slope = o.slopes(h);
    const bool from_the_end = o.causal || o.window_left >= 0 || o.slopes.data != nullptr;
    const std::int64_t offset = from_the_end ? part.keys - part.rows : 0;
    t.offset = o.query_offset.value_or(offset);
    if (o.key_mask.data != nullptr) t.key_mask = o.key_mask[part.b].data + part.key;
    if (o.segments.data != nullptr) {
      t.row_segments = o.segments[part.b].data + part.row;
      t.key_segments = o.segments[part.b].data + part.key;
    }
    if (o.bias.data != nullptr) std::tie(t.bias, t.bias_row_stride) = bias_at(o.bias, part, h);
    if (out_.dbias.data != nullptr)
      std::tie(t.dbias, t.dbias_row_stride) = bias_at(out_.dbias, part, h);
  }

  // A buffer that each thread keeps from task to task.
  static float* scratch(std::size_t floats) {
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
      if (buffer == nullptr)
        throw Error(ErrorCode::kResources, "[focus_backward] no memory for scratch");
      size = floats;
    }
    return buffer.get();
  }

  const BackwardTable& table_;
  const FocusInput& in_;
  View<const float, 4> dout_;
  const FocusGradient& out_;
  std::vector<Part> parts_;
  std::int64_t group_ = 1;
  std::int64_t pieces_ = 1;
  std::vector<Job> jobs_;
  Tensor rows_;  // lse and delta, [2,B,H,Tq]
  Tensor dq_;    // [pieces,B,H,Tq,padded(D)]
};

template <typename T>
void backward_with(const kernels::Table& table,
                   const FocusGradientInputOf<T>& in,
                   const FocusGradientOf<T>& out) {
  check(in, out);
  const FocusInputOf<T>& f = in.forward;
  Tensor q, k, v, dout, dk, dv;
  const FocusInput forward{as_f32(f.q, q), as_f32(f.k, k), as_f32(f.v, v), f.options};
  FocusGradient wide;
  wide.dk = f32_room(out.dk, dk);
  wide.dv = f32_room(out.dv, dv);
  wide.dbias = out.dbias;
  wide.dsinks = out.dsinks;
  const BackwardTable* native =
      std::is_same_v<T, bf16> ? kernels::bf16_backward_table(table) : nullptr;
  const BackwardTable& bodies = native != nullptr ? *native : kernels::backward_table(table);
  Backward backward(bodies, forward, as_f32(in.dout, dout), wide);
  backward.prepare(in);
  backward.run();
  backward.join(out.dq);
  round_into(out.dk, dk);
  round_into(out.dv, dv);
}

}  // namespace

void focus_backward(const FocusGradientInput& in, const FocusGradient& out) {
  backward_with(kernels::table(), in, out);
}

void focus_backward(const FocusGradientInputOf<bf16>& in, const FocusGradientOf<bf16>& out) {
  backward_with(kernels::table(), in, out);
}

void focus_backward_reference(const FocusGradientInput& in, const FocusGradient& out) {
  backward_with(kernels::scalar_table(), in, out);
}

void focus_backward_reference(const FocusGradientInputOf<bf16>& in,
                              const FocusGradientOf<bf16>& out) {
  backward_with(kernels::scalar_table(), in, out);
}

}  // namespace headscope
