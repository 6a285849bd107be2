#include "train/runs.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <string_view>
#include <utility>

#include "headscope/error.h"

namespace headscope::train {

namespace {

constexpr const char* kTables = R"(
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, recipe TEXT NOT NULL, seed INTEGER NOT NULL,
  threads INTEGER NOT NULL, parameters INTEGER NOT NULL, steps INTEGER NOT NULL,
  started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, ended TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT 'running', step INTEGER NOT NULL DEFAULT 0, tokens INTEGER NOT NULL DEFAULT 0,
  seconds REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS points (
  run INTEGER NOT NULL REFERENCES runs(id), kind TEXT NOT NULL, step INTEGER NOT NULL, tokens INTEGER NOT NULL,
  loss REAL, accuracy REAL, learning_rate REAL, norm REAL, PRIMARY KEY (run, kind, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
  run INTEGER NOT NULL REFERENCES runs(id), name TEXT NOT NULL, value REAL, baseline REAL, n INTEGER NOT NULL,
  head TEXT NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID;
)";

sqlite3* opened(const std::filesystem::path& path, bool read_only) {
  sqlite3* file = nullptr;
  const int how = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if (sqlite3_open_v2(path.c_str(), &file, how, nullptr) == SQLITE_OK) return file;
  const std::string found = file == nullptr ? "no memory" : sqlite3_errmsg(file);
  sqlite3_close(file);
  throw Error(std::filesystem::exists(path) ? ErrorCode::kIo : ErrorCode::kNotFound,
              fmt::format("[{}] expected a record of runs, found {}", path.string(), found));
}

}  // namespace

/// One prepared statement; values are bound and columns read from left to right.
class RunStore::Statement {
 public:
  Statement(const RunStore& store, const char* sql) : store_(store) {
    if (sqlite3_prepare_v2(store.file_.get(), sql, -1, &statement_, nullptr) != SQLITE_OK)
      store.fail();
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  Statement& bind(std::int64_t value) {
    return check(sqlite3_bind_int64(statement_, ++bound_, value));
  }
  Statement& bind(double value) { return check(sqlite3_bind_double(statement_, ++bound_, value)); }
  Statement& bind(std::string_view text) {
    return check(sqlite3_bind_text(
        statement_, ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT));
  }
  /// Whether there is a (further) row.
  bool step() {
    column_ = 0;
    const int answer = sqlite3_step(statement_);
    if (answer != SQLITE_ROW && answer != SQLITE_DONE) store_.fail();
    return answer == SQLITE_ROW;
  }
  std::int64_t integer() { return sqlite3_column_int64(statement_, column_++); }
  double real() { return sqlite3_column_double(statement_, column_++); }
  std::string text() {
    const int at = column_++;
    const auto* bytes = sqlite3_column_text(statement_, at);
    return bytes == nullptr
               ? std::string()
               : std::string(reinterpret_cast<const char*>(bytes),
                             static_cast<std::size_t>(sqlite3_column_bytes(statement_, at)));
  }

 private:
  Statement& check(int answer) {
    if (answer != SQLITE_OK) store_.fail();
    return *this;
  }

  const RunStore& store_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  int column_ = 0;
};

RunStore::RunStore(const std::filesystem::path& path, bool read_only)
    : name_(path.string()), file_(opened(path, read_only), &sqlite3_close) {
  constexpr int kPatience = 10'000;  // milliseconds for another writer to finish
  sqlite3_busy_timeout(file_.get(), kPatience);
  if (!read_only) execute(kTables);
}

RunStore::~RunStore() = default;

void RunStore::fail() const {
  throw Error(
      ErrorCode::kIo,
      fmt::format("[{}] expected a record of runs, found {}", name_, sqlite3_errmsg(file_.get())));
}

void RunStore::execute(const char* sql) const {
  if (sqlite3_exec(file_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail();
}

std::int64_t RunStore::begin(const RunRecord& run) {
  Statement insert(*this,
                   "INSERT INTO runs (name, version, recipe, seed, threads, parameters, steps)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert.bind(run.name)
      .bind(run.version)
      .bind(run.recipe)
      .bind(static_cast<std::int64_t>(run.seed));
  insert.bind(run.threads).bind(run.parameters).bind(run.steps).step();
  return sqlite3_last_insert_rowid(file_.get());
}

std::int64_t RunStore::resume(const RunRecord& run, const RunState& state) {
  std::int64_t id = state.run;
  {
    Statement find(*this, "SELECT count(*) FROM runs WHERE id = ? AND name = ?");
    find.bind(id).bind(run.name);
    if (!find.step() || find.integer() == 0) id = begin(run);
  }
  Statement(*this, "UPDATE runs SET recipe = ?, steps = ?, threads = ?, version = ? WHERE id = ?")
      .bind(run.recipe)
      .bind(run.steps)
      .bind(run.threads)
      .bind(run.version)
      .bind(id)
      .step();
  write(id, "running", state);
  return id;
}

void RunStore::write(std::int64_t run, const std::string& status, const RunState& state) {
  execute("BEGIN IMMEDIATE");
  try {
    Statement(
        *this,
        "UPDATE runs SET status = ?, step = ?, tokens = ?, seconds = ?, ended = CURRENT_TIMESTAMP"
        " WHERE id = ?")
        .bind(status)
        .bind(state.step)
        .bind(state.tokens)
        .bind(state.seconds)
        .bind(run)
        .step();
    write_points(run, "train", state.train);
    write_points(run, "valid", state.valid);
    execute("COMMIT");
  } catch (...) {
    sqlite3_exec(file_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

void RunStore::write_points(std::int64_t run, const char* kind, const std::vector<Point>& points) {
  const std::int64_t last = points.empty() ? 0 : points.back().step;
  // What lies behind the state was written by a run that was killed; what lies before it is there already.
  Statement(*this, "DELETE FROM points WHERE run = ? AND kind = ? AND step > ?")
      .bind(run)
      .bind(std::string_view(kind))
      .bind(last)
      .step();
  std::int64_t known = 0;
  {
    Statement find(*this, "SELECT coalesce(max(step), -1) FROM points WHERE run = ? AND kind = ?");
    find.bind(run).bind(std::string_view(kind));
    if (find.step()) known = find.integer();
  }
  for (const Point& point : points) {
    if (point.step <= known) continue;
    Statement insert(*this, "INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(run)
        .bind(std::string_view(kind))
        .bind(point.step)
        .bind(point.tokens)
        .bind(point.loss);
    insert.bind(point.accuracy).bind(point.learning_rate).bind(point.norm).step();
  }
}

void RunStore::set_status(std::int64_t run, const std::string& status) {
  Statement(*this, "UPDATE runs SET status = ?, ended = CURRENT_TIMESTAMP WHERE id = ?")
      .bind(status)
      .bind(run)
      .step();
}

std::vector<RunRecord> RunStore::runs() const {
  Statement select(
      *this,
      "SELECT id, name, version, status, recipe, started, ended, seed, threads, parameters, step,"
      " steps, tokens, seconds FROM runs ORDER BY id");
  std::vector<RunRecord> out;
  while (select.step()) {
    RunRecord run;
    run.id = select.integer();
    for (std::string* text :
         {&run.name, &run.version, &run.status, &run.recipe, &run.started, &run.ended}) {
      *text = select.text();
    }
    run.seed = static_cast<std::uint64_t>(select.integer());
    for (std::int64_t* number :
         {&run.threads, &run.parameters, &run.step, &run.steps, &run.tokens}) {
      *number = select.integer();
    }
    run.seconds = select.real();
    out.push_back(std::move(run));
  }
  return out;
}

std::vector<Point> RunStore::points(std::int64_t run, const char* kind) const {
  Statement select(*this,
                   "SELECT step, tokens, loss, accuracy, learning_rate, norm FROM points"
                   " WHERE run = ? AND kind = ? ORDER BY step");
  select.bind(run).bind(std::string_view(kind));
  std::vector<Point> out;
  while (select.step()) {
    Point point{.step = select.integer(), .tokens = select.integer()};
    for (double* x : {&point.loss, &point.accuracy, &point.learning_rate, &point.norm})
      *x = select.real();
    out.push_back(point);
  }
  return out;
}

void RunStore::write_scores(std::int64_t run, const std::vector<Score>& scores) {
  execute("BEGIN IMMEDIATE");
  try {
    for (const Score& score : scores) {
      Statement insert(*this, "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)");
      insert.bind(run).bind(std::string_view(score.name)).bind(score.value).bind(score.baseline);
      insert.bind(score.n).bind(std::string_view(score.head)).step();
    }
    execute("COMMIT");
  } catch (...) {
    sqlite3_exec(file_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

std::vector<Score> RunStore::scores(std::int64_t run) const {
  Statement select(*this,
                   "SELECT name, value, baseline, n, head FROM scores WHERE run = ? ORDER BY name");
  select.bind(run);
  std::vector<Score> out;
  while (select.step()) {
    Score score;
    score.name = select.text();
    score.value = select.real();
    score.baseline = select.real();
    score.n = select.integer();
    score.head = select.text();
    out.push_back(std::move(score));
  }
  return out;
}

}  // namespace headscope::train
