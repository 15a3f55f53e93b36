#include "backend/ascend/row_layout.h"

#include <algorithm>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

std::size_t Longest(const std::vector<RowWork>& works) {
  std::size_t longest = 0;
  for (const RowWork& work : works) longest = std::max(longest, work.length + work.tokens.size());
  return longest;
}

void PutPrompt(const RowWork& work, std::size_t row, Feeds* feeds) {
  std::copy(work.tokens.begin(), work.tokens.end(),
            feeds->tokens.begin() + static_cast<std::ptrdiff_t>(row * feeds->gear.length));
  feeds->valid_lengths[row] = static_cast<std::int32_t>(work.tokens.size());
}

Gear Existing(const std::optional<Gear>& gear, const Gears& gears, std::size_t rows, std::size_t length) {
  if (gear) return *gear;
  throw Error(ErrorCode::kCapacity, StrCat("no gear of the graph has ", rows, " rows and ", length,
                                           " positions; there are ", gears.ToString()));
}

}  // namespace

RowLayout::RowLayout(DeviceForm form) : form_(std::move(form)), rows_(static_cast<std::size_t>(form_.cache.rows)) {}

void RowLayout::Open(SeqId seq, std::size_t) {
  const auto most = rows_.begin() + form_.MostRows();
  const auto row = std::find_if(rows_.begin(), most, [](const Row& each) { return each.seq == kNobody; });
  if (row == most) throw Error(ErrorCode::kBusy, StrCat("all ", form_.MostRows(), " rows of the cache are taken"));
  *row = Row{seq, 0};
}

void RowLayout::Close(SeqId seq) {
  rows_[RowOf(seq)] = Row{};
  const bool idle = std::all_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.length == 0; });
  if (idle) batch_ = 0;
}

void RowLayout::Exchange(Span<const SeqId> from, Span<const SeqId> to, Span<const std::size_t>) {
  std::vector<std::size_t> places;
  std::vector<std::size_t> lengths;
  for (const SeqId seq : from) places.push_back(RowOf(seq));
  for (const std::size_t place : places) lengths.push_back(rows_[place].length);
  for (std::size_t i = 0; i < places.size(); ++i) rows_[places[i]] = Row{to[i], lengths[i]};
}

void RowLayout::SetLength(SeqId seq, std::size_t length) {
  rows_[RowOf(seq)].length = length;
}

std::size_t RowLayout::RowOf(SeqId seq) const {
  const auto row = std::find_if(rows_.begin(), rows_.end(), [seq](const Row& each) { return each.seq == seq; });
  if (row == rows_.end()) throw Error(ErrorCode::kInternal, StrCat("sequence ", seq, " has no row"));
  return static_cast<std::size_t>(row - rows_.begin());
}

Feeds RowLayout::Padding(const Gear& gear, std::size_t tokens_per_row) const {
  const auto batch = static_cast<std::size_t>(gear.batch);
  Feeds feeds;
  feeds.gear = gear;
  feeds.tokens.assign(batch * tokens_per_row, form_.pad_id);
  feeds.valid_lengths.assign(batch, 1);
  for (std::size_t row = 0; row < batch; ++row) feeds.batch_index.push_back(static_cast<std::int64_t>(row));
  return feeds;
}

Call RowLayout::Prompts(const std::vector<RowWork>& works) {
  return form_.form == Form::kAssign ? PromptsInPlace(works) : PromptsByIndex(works);
}

Call RowLayout::PromptsInPlace(const std::vector<RowWork>& works) {
  Call call;
  std::size_t rows = 0;
  for (const RowWork& work : works) {
    call.rows.push_back(RowOf(work.seq));
    rows = std::max(rows, call.rows.back() + 1);
  }
  const std::size_t longest = Longest(works);
  const Gear gear = Existing(form_.full.Smallest(static_cast<int>(rows), longest), form_.full, rows, longest);
  call.feeds = Padding(gear, gear.length);
  for (std::size_t i = 0; i < works.size(); ++i) PutPrompt(works[i], call.rows[i], &call.feeds);
  batch_ = gear.batch;
  return call;
}

Call RowLayout::PromptsByIndex(const std::vector<RowWork>& works) const {
  Call call;
  const std::size_t longest = Longest(works);
  const Gear gear =
      Existing(form_.full.Smallest(static_cast<int>(works.size()), longest), form_.full, works.size(), longest);
  call.feeds = Padding(gear, gear.length);
  for (std::size_t row = 0; row < static_cast<std::size_t>(gear.batch); ++row) {
    const RowWork& work = row < works.size() ? works[row] : works[0];
    PutPrompt(work, row, &call.feeds);
    call.feeds.batch_index[row] = static_cast<std::int64_t>(RowOf(work.seq));
    if (row < works.size()) call.rows.push_back(row);
  }
  return call;
}

Gear RowLayout::StepGear(const std::vector<RowWork>& works) const {
  const std::size_t longest = Longest(works);
  if (form_.form == Form::kAssign) {
    const auto rows = static_cast<std::size_t>(batch_);
    return Existing(form_.incremental.SmallestOfBatch(batch_, longest), form_.incremental, rows, longest);
  }
  std::size_t rows = 0;
  for (const RowWork& work : works) rows = std::max(rows, RowOf(work.seq) + 1);
  return Existing(form_.incremental.Smallest(static_cast<int>(rows), longest), form_.incremental, rows, longest);
}

Call RowLayout::Tokens(const std::vector<RowWork>& works) {
  Call call;
  call.feeds = Padding(StepGear(works), 1);
  if (form_.form == Form::kIndexed) {
    for (std::size_t row = 0; row < call.feeds.valid_lengths.size(); ++row) {
      const std::size_t behind = std::min(rows_[row].length + 1, static_cast<std::size_t>(form_.cache.positions));
      call.feeds.valid_lengths[row] = static_cast<std::int32_t>(behind);
    }
  }
  for (const RowWork& work : works) {
    const std::size_t row = RowOf(work.seq);
    call.feeds.tokens[row] = work.tokens[0];
    call.feeds.valid_lengths[row] = static_cast<std::int32_t>(work.length + 1);
    call.rows.push_back(row);
  }
  return call;
}

}  // namespace skywork_rt::ascend
