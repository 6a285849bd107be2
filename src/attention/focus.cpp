#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "attention/focus_plan.h"
#include "attention/record.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

using kernels::FocusBody;
using kernels::FocusTask;
using kernels::HeadTask;

// Rows of query heads that share keys and values, and the keys that one thread takes with them.
struct Piece {
  std::int64_t b = 0, g = 0;
  std::int64_t h = 0, heads = 0;
  Sequence sequence;
  const FocusBody* body = nullptr;
  std::int64_t row_begin = 0, row_end = 0;
  std::int64_t key_begin = 0, key_end = 0;
  std::int64_t parts = 1, part = 0;             // of split keys
  std::ptrdiff_t keys_at = -1, values_at = -1;  // in the packed bytes; -1: where they lie
};

// A buffer that each thread keeps from task to task.
std::byte* scratch(std::size_t bytes) {
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<std::byte, Free> buffer;
  thread_local std::size_t size = 0;
  if (bytes > size) {
    buffer.reset();
    size = 0;
    const std::size_t whole = (bytes / 64 + 1) * 64;
    buffer.reset(static_cast<std::byte*>(std::aligned_alloc(64, whole)));
    if (buffer == nullptr) throw Error(ErrorCode::kResources, "[focus] no memory for scratch");
    size = bytes;
  }
  return buffer.get();
}

// One call of `focus`: cut into pieces by shapes alone, so that sums join in the same order on any number
// of threads.
template <typename T>
class Run {
 public:
  Run(const kernels::Table& table,
      const FocusInputOf<T>& in,
      const FocusOutputOf<T>& out,
      Recorder* recorder)
      : in_(in), out_(out), recorder_(recorder) {
    constexpr bool wide = std::is_same_v<T, float>;
    tile_ = wide ? &table.f32 : &table.bf16;
    few_ = wide ? &table.few_f32 : &table.few_bf16;
    if (out.lse.data == nullptr) {
      own_lse_ = Tensor(DType::kF32, {in.q.shape[0], in.q.shape[1], in.q.shape[2]});
      out_.lse = own_lse_.template view<float, 3>();
    }
    cut();
  }

  void operator()() {
    pack();
    if (recorder_ != nullptr) {
      std::vector<std::int64_t> groups;
      for (const Piece& p : pieces_) groups.push_back(p.b * in_.k.shape[1] + p.g);
      recorder_->expect(std::move(groups), split_.empty());
    }
    if (!split_.empty())
      states_ = Tensor(DType::kU8, {static_cast<std::int64_t>(pieces_.size() * state_bytes_)});
    each_piece([](const Piece& /*piece*/) { return true; },
               [](const FocusBody& body, FocusTask& task) { body.focus(task); });
    if (!split_.empty()) join();
    if (recorder_ != nullptr) recorder_->join(out_.lse);
  }

 private:
  // Pieces of all heads: the heads of a group together, so that what they record joins in one place.
  void cut() {
    const auto [B, H, Tq, D] = in_.q.shape;
    const std::int64_t G = in_.k.shape[1];
    const auto sequences = sequences_of(in_.options, Tq, in_.k.shape[2]);
    heads_ = std::max<std::int64_t>(1, B * H * static_cast<std::int64_t>(sequences.size()));
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t g = 0; g < G; ++g) {
        for (const Sequence& s : sequences) cut_group({b, g, g * (H / G), H / G, s});
      }
    }
  }

  // Few rows share one block with those of the other heads; others have blocks of their own. Beside a long
  // cache a few blocks of few rows still win: they take it as it lies, and its parts go to all threads.
  void cut_group(Piece piece) {
    constexpr std::int64_t kLongCache = 1024;
    constexpr std::int64_t kFewBlocks = 4;
    const std::int64_t rows = piece.sequence.rows;
    if (rows == 0) return;
    const std::int64_t heads = piece.heads;
    const std::int64_t blocks = piece.sequence.keys < kLongCache ? 1 : kFewBlocks;
    if (few_->join != nullptr && rows * heads <= blocks * few_->rows) {
      piece.body = few_;
      for (std::int64_t r = 0; r < rows * heads; r += few_->rows) {
        piece.row_begin = r;
        piece.row_end = std::min(r + few_->rows, rows * heads);
        cut_keys(piece);
      }
      return;
    }
    piece.body = tile_;
    lay_out(piece);
    if (rows < tile_->rows) return cut_rows(piece);
    piece.heads = 1;
    for (std::int64_t h = 0; h < heads; ++h, ++piece.h) cut_rows(piece);
  }

  // Sixteen pieces of a head bound the memory of partial sums. Many heads need fewer each to keep threads busy,
  // and a piece of less than kLeastFlop would pay more for being handed out than it shares.
  void cut_rows(Piece piece) {
    constexpr std::int64_t kMostPieces = 16;
    constexpr std::int64_t kAllPieces = 256;
    constexpr std::int64_t kLeastFlop = 2'000'000;
    const std::int64_t all = piece.sequence.rows * piece.heads;
    const std::int64_t block = piece.body->rows;
    const std::int64_t blocks = (all + block - 1) / block;
    const std::int64_t pieces = std::clamp<std::int64_t>(kAllPieces / heads_, 1, kMostPieces);
    const std::int64_t flop =
        2 * block * piece.sequence.keys * (in_.q.shape[3] + in_.v.shape[3]) + 1;
    const std::int64_t worth = std::min(blocks, (kLeastFlop + flop - 1) / flop);
    const std::int64_t rows = std::max((blocks + pieces - 1) / pieces, worth) * block;
    piece.key_end = piece.sequence.keys;
    for (std::int64_t r = 0; r < all; r += rows) {
      piece.row_begin = r;
      piece.row_end = std::min(r + rows, all);
      pieces_.push_back(piece);
    }
  }

  // A long cache is split among threads, the rows of a group going through each part together.
  void cut_keys(Piece piece) {
    constexpr std::int64_t kPart = 2048;
    constexpr std::int64_t kParts = 16;
    piece.key_end = piece.sequence.keys;
    std::vector<HeadTask> heads(static_cast<std::size_t>(piece.heads));
    const FocusTask task = task_of(in_, piece.sequence, piece.b, piece.h, heads);
    const kernels::KeyRange range = kernels::key_range(task, 0, task.rows - 1);
    const std::int64_t length = range.end - range.begin;
    piece.parts =
        piece.body->join == nullptr ? 1 : std::clamp<std::int64_t>(length / kPart, 1, kParts);
    if (piece.parts == 1) {
      pieces_.push_back(piece);
      return;
    }
    split_.push_back(pieces_.size());
    for (HeadTask& head : heads) head.record.top_k = recorder_ == nullptr ? 0 : recorder_->top_k();
    state_bytes_ = std::max(state_bytes_, (piece.body->state_bytes(task) + 63) / 64 * 64);
    const std::int64_t step = (length / piece.parts + 63) / 64 * 64;
    const std::int64_t begin = range.begin / 64 * 64;
    for (piece.part = 0; piece.part < piece.parts; ++piece.part) {
      piece.key_begin = std::min(begin + piece.part * step, range.end / 64 * 64);
      piece.key_end = piece.part + 1 == piece.parts
                          ? range.end
                          : std::min(begin + (piece.part + 1) * step, range.end / 64 * 64);
      pieces_.push_back(piece);
    }
  }

  // Decides whether keys and values of a group are packed, and where.
  void lay_out(Piece& piece) {
    constexpr std::int64_t kWorthwhile = 64;  // rows that share the copy
    const FocusBody& body = *piece.body;
    if (body.packed_bytes == nullptr) return;
    const bool many = piece.sequence.rows * piece.heads >= kWorthwhile;
    const auto place = [&](std::int64_t stride, std::int64_t width, bool values) {
      if (!body.must_pack && (!many || stride == width)) return std::ptrdiff_t{-1};
      const std::size_t at = packed_bytes_;
      packed_bytes_ += (body.packed_bytes(piece.sequence.keys, width, values) + 63) / 64 * 64;
      return static_cast<std::ptrdiff_t>(at);
    };
    piece.keys_at = place(in_.k.stride[2], in_.k.shape[3], false);
    piece.values_at = place(in_.v.stride[2], in_.v.shape[3], true);
    if (piece.keys_at >= 0 || piece.values_at >= 0) packed_pieces_.push_back(piece);
  }

  void pack() {
    if (packed_bytes_ == 0) return;
    packed_ = Tensor(DType::kU8, {static_cast<std::int64_t>(packed_bytes_)});
    constexpr std::int64_t kChunk = 1024;
    struct Chunk {
      const Piece* piece;
      std::int64_t begin;
    };
    std::vector<Chunk> chunks;
    for (const Piece& piece : packed_pieces_) {
      for (std::int64_t j = 0; j < piece.sequence.keys; j += kChunk) chunks.push_back({&piece, j});
    }
    parallel_for(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t n) {
      const auto [piece, begin] = chunks[static_cast<std::size_t>(n)];
      HeadTask head;
      const FocusTask task = task_of(in_, piece->sequence, piece->b, piece->h, {&head, 1});
      const std::int64_t end = std::min(begin + kChunk, task.keys);
      if (piece->keys_at >= 0)
        piece->body->pack(task, false, begin, end, packed_.raw() + piece->keys_at);
      if (piece->values_at >= 0)
        piece->body->pack(task, true, begin, end, packed_.raw() + piece->values_at);
    });
  }

  FocusTask task_for(const Piece& piece, std::span<HeadTask> heads) {
    FocusTask task = task_of(in_, piece.sequence, piece.b, piece.h, heads);
    task.row_begin = piece.row_begin;
    task.row_end = piece.row_end;
    task.key_begin = piece.key_begin;
    task.key_end = piece.key_end;
    task.split = piece.parts > 1;
    // Packed f32 rows stand side by side; other layouts know their own strides.
    if (piece.keys_at >= 0) {
      task.k = packed_.raw() + piece.keys_at;
      task.k_stride = task.width;
    }
    if (piece.values_at >= 0) {
      task.v = packed_.raw() + piece.values_at;
      task.v_stride = task.value_width;
    }
    task.out_stride = out_.out.stride[2];
    for (std::size_t n = 0; n < heads.size(); ++n) {
      const std::int64_t h = piece.h + static_cast<std::int64_t>(n);
      heads[n].out = out_.out[piece.b][h].data + piece.sequence.row * task.out_stride;
      heads[n].lse = out_.lse[piece.b][h].data + piece.sequence.row;
    }
    return task;
  }

  template <typename Wanted, typename F>
  void each_piece(const Wanted& wanted, const F& work) {
    parallel_for(static_cast<std::int64_t>(pieces_.size()), [&](std::int64_t n) {
      const auto at = static_cast<std::size_t>(n);
      const Piece& piece = pieces_[at];
      if (!wanted(piece)) return;
      std::vector<HeadTask> heads(static_cast<std::size_t>(piece.heads));
      FocusTask task = task_for(piece, heads);
      if (recorder_ != nullptr) {
        recorder_->attach_rows(piece.b, piece.h, task, heads);
        recorder_->attach_sums(at, piece.b, piece.h, task, heads);
      }
      if (task.split) task.state = states_.raw() + at * state_bytes_;
      task.scratch = scratch(piece.body->scratch(task));
      work(*piece.body, task);
      if (recorder_ != nullptr) recorder_->done(at);
    });
  }

  // Joins the parts of split keys; only then is lse known, and with it what they add to the maps.
  void join() {
    parallel_for(static_cast<std::int64_t>(split_.size()), [&](std::int64_t m) {
      const std::size_t n = split_[static_cast<std::size_t>(m)];
      const Piece& piece = pieces_[n];
      std::vector<HeadTask> heads(static_cast<std::size_t>(piece.heads));
      FocusTask task = task_for(piece, heads);
      task.key_begin = 0;
      task.key_end = task.keys;
      if (recorder_ != nullptr) recorder_->attach_rows(piece.b, piece.h, task, heads);
      task.scratch = scratch(piece.body->scratch(task));
      piece.body->join(task, states_.raw() + n * state_bytes_, state_bytes_, piece.parts);
    });
    if (recorder_ == nullptr || !recorder_->wants_maps()) return;
    each_piece([](const Piece& piece) { return piece.parts > 1; },
               [](const FocusBody& body, FocusTask& task) { body.maps(task); });
  }

  const FocusInputOf<T>& in_;
  FocusOutputOf<T> out_;
  Recorder* recorder_;
  const FocusBody* tile_ = nullptr;
  const FocusBody* few_ = nullptr;
  std::int64_t heads_ = 1;  // of all sequences
  std::vector<Piece> pieces_;
  std::vector<Piece> packed_pieces_;
  std::size_t packed_bytes_ = 0;
  std::vector<std::size_t> split_;  // first parts of split keys
  std::size_t state_bytes_ = 0;     // of one part
  Tensor packed_;
  Tensor states_;
  Tensor own_lse_;
};

template <typename T>
void focus_with(const kernels::Table& table,
                const FocusInputOf<T>& in,
                const FocusOutputOf<T>& out,
                const Sight* sight,
                FocusRecord* record) {
  check_focus(in, &out, sight);
  if (sight == nullptr || record == nullptr) return Run<T>(table, in, out, nullptr)();
  Recorder recorder(in, *sight, *record);
  Run<T>(table, in, out, &recorder)();
}

}  // namespace

void focus(const FocusInput& in, const FocusOutput& out, const Sight* sight, FocusRecord* record) {
  focus_with(kernels::table(), in, out, sight, record);
}

void focus(const FocusInputOf<bf16>& in,
           const FocusOutputOf<bf16>& out,
           const Sight* sight,
           FocusRecord* record) {
  focus_with(kernels::table(), in, out, sight, record);
}

void focus_reference(const FocusInput& in,
                     const FocusOutput& out,
                     const Sight* sight,
                     FocusRecord* record) {
  focus_with(kernels::scalar_table(), in, out, sight, record);
}

void focus_reference(const FocusInputOf<bf16>& in,
                     const FocusOutputOf<bf16>& out,
                     const Sight* sight,
                     FocusRecord* record) {
  focus_with(kernels::scalar_table(), in, out, sight, record);
}

}  // namespace headscope
